"""MMLU's folders, prompts and letters."""

from __future__ import annotations

import pytest

from workbench.errors import InvalidRequest
from workbench.eval import mmlu
from workbench.lang.nodes import OptionTokens


@pytest.fixture
def folder(tmp_path):
    for part, rows in (
        ("dev", ['"Two, or\nthree?",2,3,4,5,B', "Four?,1,2,3,4,D"]),
        ("test", ["One?,1,2,3,4,A", "Six?,6,7,8,9,A"]),
    ):
        (tmp_path / part).mkdir()
        for name in ("world_history", "anatomy"):
            (tmp_path / part / f"{name}_{part}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_prompt_has_the_examples_of_its_subject(folder):
    subjects = mmlu.read(folder)
    assert [subject.name for subject in subjects] == ["anatomy", "world_history"]
    prompt = subjects[1].examples(1) + subjects[1].questions[0].prompt()
    assert prompt == (
        "The following are multiple choice questions (with answers) about world history.\n\n"
        "Two, or\nthree?\nA. 2\nB. 3\nC. 4\nD. 5\nAnswer: B\n\nOne?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    )


def test_the_first_subjects_and_questions_are_taken(folder):
    (only,) = mmlu.read(folder, num_subjects=1, num_questions=1)
    assert (only.name, len(only.questions), len(only.shots)) == ("anatomy", 1, 2)


@pytest.mark.parametrize("text, letter", [(" B", "B"), ("A.", "A"), ("", None), ("E", None), ("ABC", "A"), ("\n", None)])
def test_the_letter_of_an_answer(text, letter):
    assert mmlu.letter_in(text) == letter


def test_options_are_scored_as_wholes():
    assert mmlu.log_likelihood([OptionTokens((-1.0, -2.0)), OptionTokens((-2.5,))]) == [-3.0, -2.5]


@pytest.mark.parametrize("row", ["a,b,c", "One?,1,2,3,4,E", "One?,1,2,3,4,"])
def test_a_row_of_another_form_is_named(folder, row):
    with (folder / "test/anatomy_test.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(InvalidRequest, match=r"row 3 of .*anatomy_test"):
        mmlu.read(folder)


def test_a_folder_without_files_or_without_examples_is_refused(folder, tmp_path):
    with pytest.raises(InvalidRequest, match="a folder with dev/"):
        mmlu.read(tmp_path / "dev")
    (folder / "dev/anatomy_dev.csv").unlink()
    with pytest.raises(InvalidRequest, match="missing, and with it the examples"):
        mmlu.read(folder)
