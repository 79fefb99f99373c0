"""The language in five programs, on an engine in this process: python docs/examples/readme_examples.py

On a server instead: python docs/examples/readme_examples.py http://localhost:30000
"""

from __future__ import annotations

import sys

import workbench as sgl


@sgl.function
def pick_instrument(s, task):
    """A choice decides how the program goes on."""
    s += f"Task: {task}\nThe right instrument is the" + sgl.gen("instrument", choices=[" ruler", " clock", " scale"])
    if s["instrument"] == " clock":
        s += ". It shows the time in" + sgl.gen("unit", max_tokens=4, stop=["\n", "."])
    else:
        s += ". It measures in" + sgl.gen("unit", max_tokens=4, stop=["\n", "."])


@sgl.function
def garden_advice(s):
    """Two paragraphs are written at the same time, and a third sums them up."""
    s += "Two rules for a small garden: 1. Water in the morning. 2. Plant what grows nearby.\n\n"
    forks = s.fork(2)
    for i in range(2):
        forks[i] += f"Rule {i + 1} in more words:"
        forks[i] += sgl.gen("rule", max_tokens=32, stop="\n")
    s += "First:" + forks[0]["rule"] + "\nSecond:" + forks[1]["rule"] + "\nTogether this means"
    s += sgl.gen("sum", max_tokens=24, stop="\n")


@sgl.function
def license_plate(s):
    """A pattern is kept, whatever the model would rather write."""
    s += "A plate has three letters, a dash and three digits, for example " + sgl.gen("plate", regex="[A-Z]{3}-[0-9]{3}")


@sgl.function
def river(s, country):
    s += "Norway: Glomma\nEgypt: Nile\n" + country + ":" + sgl.gen("river", max_tokens=6, stop="\n")


@sgl.function
def two_turns(s, first, second):
    """A conversation in the model's own chat template."""
    s += sgl.system("Answer in one short sentence.")
    s += sgl.user(first)
    s += sgl.assistant(sgl.gen("first", max_tokens=32))
    with s.user():
        s += second
    with s.assistant():
        s += sgl.gen("second", max_tokens=32)


def show_choice():
    print(pick_instrument.run(task="find out how long the table is", temperature=0).text(), "\n")


def show_forks():
    print(garden_advice.run(temperature=0).text(), "\n")


def show_pattern():
    print(license_plate.run().text(), "\n")


def show_batch():
    states = river.run_batch([{"country": name} for name in ("France", "Iraq", "Brazil")], temperature=0, progress_bar=True)
    for state in states:
        print(state.text().splitlines()[-1])
    print()


def show_stream():
    state = two_turns(first="What is a river?", second="Name one.", temperature=0, stream=True)
    for piece in state.text_iter():
        print(piece, end="", flush=True)
    print("\n")
    for message in state.messages():
        print(f"{message['role']}: {message['content']}")


def main():
    for show in (show_choice, show_forks, show_pattern, show_batch, show_stream):
        show()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sgl.set_default_backend(sgl.RuntimeEndpoint(sys.argv[1]))
        main()
    else:
        with sgl.Engine("smollm2-135m", log_level="error"):  # the engine opened last is the default backend
            main()
