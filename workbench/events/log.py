"""The log that holds the events."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice

from workbench.events.base import Event

NUMBERS = 40
"""Numbers in the lists of events (`Event.num_held`) for each event that a log may keep: prompts of 8,000 tokens would else
take gigabytes."""
LEAST_NUMBERS = 100_000


class EventLog:
    """A bounded, numbered list of events. Any thread may write and read."""

    def __init__(self, capacity: int = 200_000) -> None:
        """Keeps the last `capacity` events, fewer where their lists are long; 0 records nothing."""
        self.on = capacity > 0
        """False if nothing is recorded. A site that records writes `if log.on: log.add(...)`, so that off costs one branch."""
        self._events: deque[Event] = deque()
        self._most, self._most_held = max(capacity, 1), max(NUMBERS * capacity, LEAST_NUMBERS)
        self._num_held = 0
        """Numbers in the lists of the events that are kept."""
        self.num_added = 0
        """The number of events ever added, which is the number of the next one."""
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        """Appends an event; the oldest leaves a full log."""
        with self._lock:
            events = self._events
            events.append(event)
            self.num_added += 1
            self._num_held += event.num_held
            while len(events) > self._most or (self._num_held > self._most_held and len(events) > 1):
                self._num_held -= events.popleft().num_held

    def skip(self, num_events: int) -> None:
        """Drops all events and counts `num_events` more that cannot be read; readers find that they fell behind."""
        with self._lock:
            self._events.clear()
            self._num_held = 0
            self.num_added += num_events

    def read(self, since: int = 0) -> tuple[int, list[Event]]:
        """Returns the held events numbered `since` and later, after the number of the first of them. Reads only.

        A first number above `since` means that the events between were dropped.
        """
        with self._lock:
            first = max(since, self.num_added - len(self._events))
            events = list(islice(reversed(self._events), max(self.num_added - first, 0)))  # from the end: no walk over the old
        events.reverse()
        return first, events

    def number_after(self, event: Event) -> int:
        """Returns the number of the first event after the newest one that equals `event`. Reads only.

        If none is held any more, returns the number of the oldest held.
        """
        with self._lock:
            for num_newer, held in enumerate(reversed(self._events)):
                if held == event:
                    return self.num_added - num_newer
            return self.num_added - len(self._events)
