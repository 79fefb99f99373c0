"""`Collector`: outputs of steps in, the result so far out, at a cost that does not grow with the square of the stream."""

from __future__ import annotations

from workbench.native.collector import Collector
from workbench.testing import make_request
from workbench.types import TokenLogprob, TokenOut


def test_each_token_is_named_once_however_many_chunks_a_stream_has():
    named = []

    def name(token_id):
        named.append(token_id)
        return f"<{token_id}>"

    request = make_request("r", [1, 2], return_logprob=True, logprob_start_len=0, top_logprobs_num=1)
    collector = Collector(request, name_token=name, has_text=True)
    collector.add(TokenOut(rid="r", prompt_logprobs=(TokenLogprob(2, -0.5, top=((-0.5, 2),)),)))
    for i in range(20):
        collector.add(TokenOut(rid="r", token_ids=(i,), text="x", logprobs=(TokenLogprob(i, -i, top=((-i, i), (-9.0, 7))),)))
        meta = collector.result()["meta_info"]
        assert meta["output_token_logprobs"] == [[-j, j, f"<{j}>"] for j in range(i + 1)]
        assert meta["output_top_logprobs"][i] == [[-i, i, f"<{i}>"], [-9.0, 7, "<7>"]]
    assert meta["input_token_logprobs"] == [[None, 1, "<1>"], [-0.5, 2, "<2>"]]
    assert meta["input_top_logprobs"] == [None, [[-0.5, 2, "<2>"]]]
    assert len(named) == 1 + 2 + 3 * 20
