"""Three gaps of one text in one call: the API writes ahead, and the program takes what fits. Needs OPENAI_API_KEY."""

from __future__ import annotations

import workbench as sgl


@sgl.function(num_api_spec_tokens=64)
def traveller(s):
    s += "Name: Ibn Battuta.\nFrom: Tangier.\nSaw: Samarkand.\n\nAnother traveller, in the same three lines:\n"
    s += "Name:" + sgl.gen("name", stop="\n") + "\nFrom:" + sgl.gen("home", stop="\n") + "\nSaw:" + sgl.gen("saw", stop="\n")


if __name__ == "__main__":
    sgl.set_default_backend(sgl.OpenAI("gpt-3.5-turbo-instruct"))
    state = traveller()
    print(state.text())
    print(len(state.calls), "gaps")
