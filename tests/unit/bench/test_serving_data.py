"""Prompts of the serving benchmark."""

from __future__ import annotations

import argparse
import random

from workbench.bench.serving_data import make_chats, random_jobs, records, shared_prefix_jobs


def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text('[{"id": 1, "conversations": [{"value": "a {"}]}, {"id": 2}, {"id": 3, "conv')
    assert [record["id"] for record in records(path)] == [1, 2]


def test_random_prompts_have_the_lengths_asked_for():
    args = argparse.Namespace(num_prompts=50, random_input_len=20, random_output_len=8, random_range_ratio=0.5)
    jobs = random_jobs(args, random.Random(0), 1000)
    assert {len(job.input_ids) for job in jobs} == set(range(10, 21))
    assert {job.new_tokens for job in jobs} == set(range(4, 9))
    assert all(0 < token < 1000 for job in jobs for token in job.input_ids)


def test_prompts_of_a_group_begin_alike():
    args = argparse.Namespace(
        gsp_num_groups=3, gsp_prompts_per_group=4, gsp_system_prompt_len=10, gsp_question_len=5, gsp_output_len=2
    )
    jobs = shared_prefix_jobs(args, random.Random(0), 1000)
    assert len({tuple(job.input_ids[:10]) for job in jobs}) == 3
    assert len({tuple(job.input_ids) for job in jobs}) == 12
    assert {(len(job.input_ids), job.new_tokens) for job in jobs} == {(15, 2)}


def test_chats_share_their_system_prompt_alone():
    chats = make_chats(random.Random(0), 3, 2, 20, 6)
    assert len({chat[0] for chat in chats}) == 1
    assert [len(chat) for chat in chats] == [3, 3, 3]
    assert len({turn for chat in chats for turn in chat[1:]}) == 6
