#!/usr/bin/env bash
# The virtual camera for real: v4l2loopback in a Debian of its own, in QEMU without KVM.
#
#   sudo tests/obs/real_camera.sh [FOLDER]
#
# Not part of the test suite: it needs root, debootstrap, qemu-system-x86 and cpio, a gigabyte and
# some minutes (the Debian is made once and kept in FOLDER, default /var/tmp/sdv2-camera). A ring is
# filled with numbered pictures, the sink shows them as /dev/video10, and PyAV opens that as any
# program opens a webcam. Ends with "camera: ok" and exit code 0, or says what was seen.
set -euo pipefail
here="$(cd "$(dirname "$0")/../.." && pwd)"
work="${1:-/var/tmp/sdv2-camera}"
root="$work/root"
mkdir -p "$work"

if [ ! -e "$root/.made" ]; then
  debootstrap --variant=minbase \
    --include=linux-image-amd64,linux-headers-amd64,v4l2loopback-dkms,kmod,ca-certificates,python3-venv \
    bookworm "$root" http://deb.debian.org/debian
  for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do cp -L "$file" "$root$file"; done
  chroot "$root" python3 -m venv /venv
  pins=()
  for name in numpy pillow pydantic pyvirtualcam av; do pins+=("$(grep "^$name==" "$here/constraints.txt")"); done
  chroot "$root" env PIP_CERT=/etc/ssl/certs/ca-certificates.crt /venv/bin/pip install -q "${pins[@]}"
  ls "$root"/lib/modules/*/updates/dkms/v4l2loopback.ko* >/dev/null || { echo "camera: v4l2loopback was not built"; exit 1; }
  touch "$root/.made"
fi
rm -rf "$root/src" && mkdir "$root/src" && cp -r "$here/sdv2_host" "$root/src/"

cat >"$root/src/check.py" <<'PY'
"""In the guest: a ring, the sink, and a reader of the camera."""
import subprocess, sys, threading, time
import av
import numpy as np
from sdv2_host.clock import now_ns
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.types import FrameMeta

WIDTH, HEIGHT, BITS, CELL = 320, 240, 10, 32

def picture(number):
    """The number as black and white cells, on a colour."""
    pixels = np.full((HEIGHT, WIDTH, 4), (40, 90, 200, 255), np.uint8)
    for bit in range(BITS):
        pixels[:CELL, bit * CELL : (bit + 1) * CELL, :3] = 255 * (number >> bit & 1)
    return pixels

def number_of(grey):
    return sum((int(grey[CELL // 2, bit * CELL + CELL // 2]) > 127) << bit for bit in range(BITS))

stop = threading.Event()
sent = {}

def publish():
    with FrameWriter("camera-out") as ring:
        number = 0
        while not stop.wait(1 / 15):
            number += 1
            sent[number] = time.monotonic()
            ring.publish(picture(number), FrameMeta(WIDTH, HEIGHT, capture_ts_ns=now_ns()))

thread = threading.Thread(target=publish)
thread.start()
sink = subprocess.Popen(
    [sys.executable, "-m", "sdv2_host.sinks.virtual_camera", "--stream", "camera-out"]
    + ["--device", "/dev/video10", "--fps", "30"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
for line in sink.stdout:
    print("sink:", line.decode().strip(), flush=True)
    if b"frames a second" in line:
        break
time.sleep(1)
seen, late, colours = [], [], []
begin = time.monotonic()
with av.open("/dev/video10", format="v4l2") as camera:
    for frame in camera.decode(video=0):
        number = number_of(frame.to_ndarray(format="gray"))
        if not seen or number != seen[-1]:
            seen.append(number)
            late.append(time.monotonic() - sent[number])
        colours.append(frame.to_ndarray(format="rgb24")[HEIGHT // 2, WIDTH // 2])
        if time.monotonic() - begin > 6:
            break
elapsed = time.monotonic() - begin
sink.stdin.close()
code = sink.wait(10)
stop.set()
thread.join()
colour = np.median(colours, axis=0)
print(f"camera: {len(colours)} frames in {elapsed:.1f} s, {len(seen)} different, in order "
      f"{seen == sorted(seen)}, {1000 * np.median(late):.0f} ms median, colour {colour}, sink {code}")
good = len(seen) > 20 and seen == sorted(seen) and abs(colour - (40, 90, 200)).max() < 8 and code == 0
print("camera: ok" if good else "camera: FAILED", flush=True)
PY
cat >"$root/init" <<'SH'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/shm; mount -t tmpfs shm /dev/shm; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
modprobe v4l2loopback video_nr=10 exclusive_caps=1 card_label=StreamDiffusion
cd /src && /venv/bin/python -B check.py
echo o >/proc/sysrq-trigger; sleep 20
SH
chmod +x "$root/init"

# An initramfs that only finds the root: the modules of 9p in the order of their needs.
kernel="$(basename "$root"/lib/modules/*)"
boot="$work/boot"
rm -rf "$boot" && mkdir -p "$boot/bin" "$boot/mods" "$boot/root"
cp "$root/bin/dash" "$boot/bin/sh" && cp "$root/bin/mount" "$root/bin/kmod" "$root/sbin/switch_root" "$boot/bin/"
for program in sh mount kmod switch_root; do
  ldd "$boot/bin/$program" | grep -o '/[^ ]*' | while read -r lib; do
    mkdir -p "$boot$(dirname "$lib")" && cp -L "$root$lib" "$boot$lib"
  done
done
ln -s kmod "$boot/bin/insmod"
for name in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p; do
  find "$root/lib/modules/$kernel/kernel" -name "$name.ko*" -exec cp {} "$boot/mods/" \;
done
cat >"$boot/init" <<'SH'
#!/bin/sh
export PATH=/bin
for name in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p; do
  [ -e /mods/$name.ko ] && insmod /mods/$name.ko
done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro hostroot /root && exec switch_root /root /init
SH
chmod +x "$boot/init"
(cd "$boot" && find . | cpio -o -H newc --quiet | gzip) >"$work/initrd.gz"

timeout 600 qemu-system-x86_64 -accel tcg,thread=multi -cpu Nehalem -smp 2 -m 2048 -nographic -no-reboot -nodefaults \
  -serial stdio -kernel "$root/boot/vmlinuz-$kernel" -initrd "$work/initrd.gz" -append "console=ttyS0 quiet panic=-1" \
  -fsdev local,id=r,path="$root",security_model=none,readonly=on -device virtio-9p-pci,fsdev=r,mount_tag=hostroot |
  tee "$work/log"
grep -q "camera: ok" "$work/log"
