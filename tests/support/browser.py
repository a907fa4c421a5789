"""A browser that shows pages, and tells what it did."""

from __future__ import annotations

import json
import os
import select
import subprocess


class Browser:
    """A headless Chromium, driven over pipes by the Chrome DevTools Protocol."""

    def __init__(self, path, profile):
        (here, self._to), (self._from, there) = os.pipe(), os.pipe()
        self._buffer, self._number, self._session, self.events = b"", 0, {}, []

        def give_pipes():
            # Which Chromium expects as 3 and 4; by way of others, as these may be one of the four.
            os.dup2(here, 63), os.dup2(there, 64)
            os.dup2(63, 3), os.dup2(64, 4)

        options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        options += "--disable-background-networking --disable-component-update --disable-sync "
        options += f"--remote-debugging-pipe --user-data-dir={profile} about:blank"
        self._process = subprocess.Popen(
            [path, *options.split()],
            preexec_fn=give_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(here), os.close(there)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url, width, scheme="light"):
        """Opens a page in a window of a width; returns what its root measures."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not self.of("Page.loadEventFired"):
            self.events.append(self._read())

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    def of(self, *methods):
        return [event["params"] for event in self.events if event.get("method") in methods]

    def close(self):
        self._process.terminate()
        self._process.wait(20)
        os.close(self._to), os.close(self._from)

    def _read(self):
        while b"\0" not in self._buffer:
            assert select.select([self._from], [], [], 60)[0], "Chromium does not answer"
            block = os.read(self._from, 2**20)
            assert block, "Chromium has ended"
            self._buffer += block
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
