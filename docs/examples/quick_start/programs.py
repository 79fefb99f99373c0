"""The two programs that all quick starts run: one continues text, one is a conversation."""

from __future__ import annotations

import workbench as sgl


@sgl.function
def capital(s, country):
    s += "Country: Kenya\nCapital: Nairobi\nCountry: Chile\nCapital: Santiago\n"
    s += f"Country: {country}\nCapital:" + sgl.gen("capital", max_tokens=8, temperature=0, stop="\n")


@sgl.function
def visit(s, place, wish):
    s += sgl.user(f"What is {place} known for?")
    s += sgl.assistant(sgl.gen("known_for", max_tokens=48))
    s += sgl.user(wish)
    s += sgl.assistant(sgl.gen("advice", max_tokens=48))


TRIPS = [
    {"place": "Vienna", "wish": "Where do I hear music there?"},
    {"place": "Kyoto", "wish": "When do I go there?"},
]


def show_complete():
    """Prints one text, one that streams, and several at once."""
    print(capital.run(country="Peru").text())
    for piece in capital.run(country="Ghana", stream=True).text_iter("capital"):
        print(piece, end="", flush=True)
    print()
    for state in capital.run_batch([{"country": "Latvia"}, {"country": "Nepal"}]):
        print(state["capital"].strip())


def show_chat():
    """Prints one conversation, one that streams, and several at once."""
    state = visit.run(**TRIPS[0])
    for message in state.messages():
        print(f"{message['role']}: {message['content']}")
    for piece in visit.run(**TRIPS[1], stream=True).text_iter():
        print(piece, end="", flush=True)
    print()
    for state in visit.run_batch(TRIPS):
        print(state["advice"])
