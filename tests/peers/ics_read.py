"""Reads calendar entries with the Python package icalendar, which shares no code with the writer under test.

One JSON string with an iCalendar object a line on standard input; one JSON object with what was understood a line on
standard output. Times with a zone are resolved by the VTIMEZONE inside the object alone, never by a database.
"""

import json
import sys
from datetime import timezone

from icalendar import Calendar


def moment(calendar, value):
    zone = value.params.get("TZID")
    if zone is None:
        return value.dt.astimezone(timezone.utc).isoformat()
    [described] = [part for part in calendar.walk("VTIMEZONE") if part["TZID"] == zone]
    rules = described.to_tz(lookup_tzid=False)
    naive = value.dt.replace(tzinfo=None)
    local = rules.localize(naive) if hasattr(rules, "localize") else naive.replace(tzinfo=rules)
    return local.astimezone(timezone.utc).isoformat()


for line in sys.stdin:
    calendar = Calendar.from_ical(json.loads(line))
    [event] = calendar.walk("VEVENT")
    fields = {
        name.lower(): str(event[name])
        for name in ("UID", "SEQUENCE", "STATUS", "SUMMARY", "DESCRIPTION", "LOCATION", "ORGANIZER", "ATTENDEE")
        if name in event
    }
    print(json.dumps({
        **fields,
        "method": calendar["METHOD"],
        "starts": moment(calendar, event["DTSTART"]),
        "ends": moment(calendar, event["DTEND"]),
        "zone": event["DTSTART"].params.get("TZID"),
        "organizer_name": event["ORGANIZER"].params.get("CN"),
        "errors": [str(error) for error in event.errors + calendar.errors],
    }), flush=True)
