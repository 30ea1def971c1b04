"""The control plane: what OSC, WebSocket, the page, presets and cues play the instrument by."""
