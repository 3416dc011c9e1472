#!/usr/bin/env python3
"""How long a command takes until a person sees something: .ci/figures-paint.py WHAT COMMAND...

Looks at the screen itself, which .ci/display keeps in the file $BIZING_SCREEN, so the app is measured as it is. Prints when
the window was there, when the first thing was painted in it, and from when on its middle (the list, not the status bar) was
complete: it had nine tenths of the colours that it has at the end. Then ends the command.
"""
import mmap, os, signal, struct, subprocess, sys, time

LIMIT_S, REST_S = 120, 3
what, command = sys.argv[1], sys.argv[2:]
screen = open(os.environ["BIZING_SCREEN"], "rb")
memory = mmap.mmap(screen.fileno(), 0, prot=mmap.PROT_READ)
# The header of an X window dump: its own size first, the number of colours (12 bytes each) in the 20th word.
header = struct.unpack(">25I", memory[:100])
pixels = memoryview(memory)[header[0] + header[19] * 12 :]
pixels = pixels[: len(pixels) // 4 * 4].cast("I")
fifth = len(pixels) // 5


def picture() -> tuple[bytes, bytes]:
    # A step that shares no factor with the width comes by every column.
    return pixels[::61].tobytes(), pixels[fifth : 4 * fifth : 61].tobytes()


def colours(now: bytes) -> int:
    return len(set(memoryview(now).cast("I")))


last, middle = picture()
began = time.monotonic()
process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
window = paint = rest = None
course: list[tuple[float, int]] = []
while True:
    (now, now_middle), at = picture(), time.monotonic() - began
    if now != last:
        last = now
        window = window or at
        # A window without contents has one colour; letters bring many.
        if paint is None and colours(now) >= 8:
            paint = at
    if now_middle != middle:
        middle, rest = now_middle, at
        course.append((at, colours(middle)))
    if paint and at - rest > REST_S:
        break
    if process.poll() is not None or at > LIMIT_S:
        sys.exit(f"{what}: nothing was painted within {at:.0f} s (the command's code: {process.poll()})")
    time.sleep(0.004)
complete = rest
for at, found in reversed(course):
    if found < 0.9 * course[-1][1]:
        break
    complete = at
print(f"{what}: window {window * 1000:.0f} ms, first paint {paint * 1000:.0f} ms, complete {complete * 1000:.0f} ms", flush=True)
os.killpg(process.pid, signal.SIGTERM)
process.wait(30)
