"""What is looked at before a show and after a fault: doctor, soundcheck, support bundle."""
