"""Measures what a person waits for, on a real server with a data folder of its own: .ci/figures.py BINARY

One JSON object a line, as `bench` prints them. A figure is for reading, never for passing or failing: the machine's load
is part of it and is printed too.
"""

import http.cookiejar
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

BOOKINGS = 40


class Desk:
    """A running `bizing-desk serve`, and a browser that has entered it."""

    def __init__(self, binary: str, data: str):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BIZING_") and k != "DATABASE_URL"}
        if "BIZING_PG_BIN" in os.environ:
            kept["BIZING_PG_BIN"] = os.environ["BIZING_PG_BIN"]
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [binary, "serve"], env=kept | {"BIZING_DATA": data, "BIZING_NO_OPEN": "1"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        address = self.process.stdout.readline().removeprefix("Bizing Desk: ").strip()
        self.url = address.split("/?")[0]
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.browser = urllib.request.build_opener(*handlers)
        self.browser.open(address, timeout=30).read()

    def call(self, command: str, **params):
        headers = {"content-type": "application/json", "x-bizing-desk": "1"}
        request = urllib.request.Request(f"{self.url}/rpc/{command}", json.dumps(params).encode(), headers)
        return json.load(self.browser.open(request, timeout=60))

    def wait_until_ready(self) -> None:
        while (phase := self.call("host_state")["phase"])["is"] != "ready":
            if phase["is"] == "failed":
                sys.exit(f"the desk did not start: {phase['error']['message']}")
            time.sleep(0.005)

    def first_page(self):
        asked = {"search": None, "states": [], "payments": [], "service_id": None, "resource_id": None, "from": None, "to": None}
        return self.call("list_bookings", **asked, sort="starts", descending=False, after=None, limit=200)

    def since_start(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def say(case: str, values: list[float]) -> None:
    values = sorted(values)
    figures = {"bench": "desk", "case": case, "value": round(statistics.median(values), 1), "unit": "ms"}
    if len(values) > 1:
        figures |= {"p99": round(values[min(len(values) - 1, int(len(values) * 0.99))], 1), "n": len(values)}
    print(json.dumps(figures | {"load": round(os.getloadavg()[0], 1)}), flush=True)


def confirmed(desk: Desk, booking: str) -> bool:
    try:
        return desk.call("get_booking", booking=booking)["row"]["state"] == "confirmed"
    except urllib.error.HTTPError as error:
        if error.code != 404:  # the list has not followed yet
            raise
        return False


def click_to_confirmed(desk: Desk) -> list[float]:
    catalogue = desk.call("catalogue")
    card = next(c for c in catalogue["sandbox_cards"] if c["payment_method"] == "pm_card_visa")
    taken: list[float] = []
    for service in catalogue["services"]:
        # Far enough ahead that the example leaves many times free.
        date = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 15 * 86400))
        while date and len(taken) < BOOKINGS:
            reply = desk.call("free_times", service_id=service["service_id"], date=date, staff_id=None)
            if not reply["times"]:
                date = reply["next_date"]
                continue
            free = reply["times"][0]
            number = len(taken)
            clicked = time.perf_counter()
            booked = desk.call(
                "create_booking",
                command_id=str(uuid.uuid4()),
                customer={"is": "new", "name": f"Figure {number}", "email": f"figure{number}@example.com", "phone": None},
                service_id=service["service_id"],
                staff_id=free["staff"]["id"],
                room_id=free["room"] and free["room"]["id"],
                starts=free["starts"]["wall"][:16],
                fold=None,
                payment_mode="card_on_file",
                payment_method=card["payment_method"],
            )
            while not confirmed(desk, booked["booking_id"]):
                if time.perf_counter() - clicked > 30:
                    sys.exit(f"{booked['reference']} is not confirmed after 30 s")
                time.sleep(0.002)
            taken.append((time.perf_counter() - clicked) * 1000)
    return taken


def main() -> None:
    folder = tempfile.mkdtemp(prefix="bizing-figures-")
    os.chmod(folder, 0o711)  # as root the database server runs under another account, which has to get in
    binary, data = os.path.abspath(sys.argv[1]), os.path.join(folder, "data")
    try:
        desk = Desk(binary, data)
        try:
            desk.call("choose_start", choice="explore")
            desk.wait_until_ready()
            desk.first_page()
            say("first start, new database, to the example's first list", [desk.since_start()])
            say("click to confirmed", click_to_confirmed(desk))
            pages = []
            for _ in range(20):
                asked = time.perf_counter()
                desk.first_page()
                pages.append((time.perf_counter() - asked) * 1000)
            say("first page of the list", pages)
        finally:
            desk.stop()
        warm = []
        for _ in range(3):
            desk = Desk(binary, data)
            try:
                desk.wait_until_ready()
                warm.append(desk.since_start())
            finally:
                desk.stop()
        say("warm start to ready", warm)
    finally:
        shutil.rmtree(folder)


main()
