"""The routes of embedding and reward models, with the client of OpenAI, beside the engine."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import numpy as np
import ollama
import openai
import pytest
import tokenizers
import torch
import transformers
from prometheus_client.parser import text_string_to_metric_families

WORDS = "a red fox jumps over the lazy dog while rain falls on green hills and paris is in france".split()
TEXTS = ["a red fox jumps", "the lazy dog", "rain falls on green hills and paris is in france"]


def saved(folder: Path, kind: str, **settings) -> Path:
    """Returns a folder with a tiny seeded model and a tokenizer of words."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**sizes, max_position_embeddings=32, pad_token_id=0, **settings)
    getattr(transformers, kind)(config).save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(folder)
    return folder


def served(server_process, folder):
    return server_process(
        "--model-path", str(folder), "--is-embedding", "--dtype", "float32", "--max-total-tokens", "4096", "--enable-metrics",
        "--served-model-name", "e",
    )  # fmt: skip


@pytest.fixture(scope="module")
def http(server_process, tmp_path_factory):
    server = served(server_process, saved(tmp_path_factory.mktemp("bert"), "BertModel", model_type="bert"))
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.close()


@pytest.fixture(scope="module")
def rewards(server_process, tmp_path_factory):
    folder = saved(tmp_path_factory.mktemp("reward"), "LlamaForSequenceClassification", model_type="llama", num_labels=1)
    server = served(server_process, folder)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client, transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    server.close()


@pytest.fixture(scope="module")
def client(http):
    return openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0)


def encoded(http, text):
    return np.array(http.post("/encode", json={"text": text}).json()["embedding"])


def test_encode_gives_one_vector_for_a_text_and_a_list_for_many(http):
    many = http.post("/encode", json={"text": TEXTS}).json()
    assert [each["meta_info"]["prompt_tokens"] for each in many] == [4, 3, 10]
    assert np.allclose([each["embedding"] for each in many], [encoded(http, text) for text in TEXTS], atol=1e-5)
    assert http.get("/get_model_info").json()["is_generation"] is False
    assert http.get("/health_generate").status_code == 200


def test_embeddings_take_all_forms_of_input(http, client):
    ids = [2, 3, 4, 5]
    for given in (TEXTS[0], [TEXTS[0]], ids, [ids]):
        found = client.embeddings.create(model="any", input=given)  # this client requests base64
        assert np.allclose(found.data[0].embedding, encoded(http, TEXTS[0]), atol=1e-6)
        assert found.usage.prompt_tokens == found.usage.total_tokens == 4
    many = client.embeddings.create(model="any", input=TEXTS)
    assert [each.index for each in many.data] == [0, 1, 2]


def test_the_wire_has_floats_by_default_and_little_endian_base64_where_requested(http):
    body = {"model": "any", "input": TEXTS[0]}
    curl = {"content-type": "application/x-www-form-urlencoded"}
    floats = http.post("/v1/embeddings", content=b'{"input": "a red fox jumps"}', headers=curl).json()["data"][0]["embedding"]
    text = http.post("/v1/embeddings", json=body | {"encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(text), "<f4"), np.array(floats, np.float32))
    assert http.post("/v1/embeddings", json=body | {"encoding_format": "hex"}).status_code == 400


def test_dimensions_shorten_and_normalise_or_are_refused(http, client):
    short = np.array(client.embeddings.create(model="any", input=TEXTS[0], dimensions=8).data[0].embedding)
    whole = encoded(http, TEXTS[0])[:8]
    assert np.allclose(short, whole / np.linalg.norm(whole), atol=1e-6)
    for wrong in (0, -1, 33):
        with pytest.raises(openai.BadRequestError, match="dimensions"):
            client.embeddings.create(model="any", input=TEXTS[0], dimensions=wrong)


def test_the_client_of_ollama_gets_vectors_of_length_1(http):
    client = ollama.Client(host=str(http.base_url))
    found = client.embed(model="any", input=TEXTS)
    assert found.prompt_eval_count == 17
    for vector, text in zip(found.embeddings, TEXTS, strict=True):
        wanted = encoded(http, text)
        assert np.allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-6)
        assert np.allclose(client.embeddings(model="any", prompt=text).embedding, wanted, atol=1e-6)
    assert len(client.embed(model="any", input="a", dimensions=8).embeddings[0]) == 8
    assert client.embed(model="any", input="").embeddings == []
    assert client.embed(model="any", input="fox " * 40).prompt_eval_count == 32
    with pytest.raises(ollama.ResponseError, match="input is '40 tokens'"):
        client.embed(model="any", input="fox " * 40, truncate=False)


def test_score_and_rerank_are_the_cosines_of_the_embeddings(http):
    query, *documents = (encoded(http, text) for text in TEXTS)
    wanted = [float(query @ each / np.linalg.norm(query) / np.linalg.norm(each)) for each in documents]
    data = http.post("/v1/score", json={"text_1": TEXTS[0], "text_2": TEXTS[1:]}).json()["data"]
    assert np.allclose([each["score"] for each in data], wanted, atol=1e-5)
    for route in ("/rerank", "/v1/rerank"):
        results = http.post(route, json={"query": TEXTS[0], "documents": TEXTS[1:]}).json()["results"]
        assert np.allclose([each["relevance_score"] for each in results], sorted(wanted, reverse=True), atol=1e-5)
        assert results[0]["document"]["text"] == TEXTS[1:][results[0]["index"]]
    assert len(http.post("/rerank", json={"query": "a", "documents": TEXTS, "top_n": 1}).json()["results"]) == 1


def test_texts_are_counted_and_checks_of_health_are_not(http, client):
    def scrape():
        families = text_string_to_metric_families(http.get("/metrics").text)
        return {sample.name.removeprefix("workbench_"): sample.value for family in families for sample in family.samples}

    before = scrape()
    http.post("/encode", json={"text": TEXTS})
    client.embeddings.create(model="any", input=TEXTS[0])
    http.get("/health_generate")
    for route, body in (
        ("/encode", {"text": TEXTS}), ("/v1/embeddings", {"input": TEXTS}), ("/rerank", {"query": "a", "documents": TEXTS}),
        ("/v1/score", {"text_1": "a", "text_2": TEXTS}),
    ):  # fmt: skip
        assert http.post(route, json=body | {"log_metrics": False}).status_code == 200
    many = {"text": ["a"] * 2000, "log_metrics": False}
    assert len(http.post("/encode", json=many).json()) == 2000
    after = scrape()
    grown = {name: after[name] - before[name] for name in after}
    assert (grown["prompt_tokens_total"], grown["generation_tokens_total"]) == (21, 0)
    assert grown["e2e_request_latency_seconds_count"] == grown["func_latency_seconds_count"] == 4


@pytest.mark.parametrize(("route", "body"), [
    ("/generate", {"text": "a red fox"}),
    ("/v1/completions", {"prompt": "a red fox", "model": "any"}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "model": "any", "stream": True}),
    ("/generate", {"text": "a red fox", "stream": True}),
    ("/classify", {"text": "a red fox"}),
    ("/encode", {}),
    ("/encode", {"text": []}),
    ("/encode", {"text": "a", "input_ids": [1]}),
    ("/encode", {"text": 5}),
    ("/v1/embeddings", {"input": []}),
    ("/v1/embeddings", {}),
    ("/v1/embeddings", {"input": [[]]}),
    ("/v1/embeddings", {"input": ["a", 1]}),
    ("/v1/embeddings", {"input": [64]}),
    ("/v1/embeddings", {"input": ""}),
    ("/v1/score", {"text_1": ["a", "red"], "text_2": ["a"]}),
    ("/v1/score", {"text_1": "a", "text_2": []}),
    ("/rerank", {"query": "a", "documents": []}),
    ("/rerank", {"query": "a", "documents": ["a"], "top_n": 0}),
])  # fmt: skip
def test_what_an_embedding_model_cannot_do_is_a_bad_request(http, route, body):
    answer = http.post(route, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


def test_a_text_beyond_the_context_is_refused_with_the_count(client):
    with pytest.raises(openai.BadRequestError, match="33 tokens") as error:
        client.embeddings.create(model="any", input="fox " * 33)
    assert error.value.code == "context_length_exceeded"


def test_many_clients_at_once_get_their_own_vectors(http):
    from concurrent.futures import ThreadPoolExecutor

    texts = [" ".join(WORDS[i % 7 : i % 7 + 1 + i % 9]) for i in range(60)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: encoded(http, text), texts))
    alone = [each["embedding"] for each in http.post("/encode", json={"text": texts}).json()]
    assert np.allclose(found, alone, atol=1e-5)


@torch.inference_mode()
def test_classify_gives_the_scores_of_transformers(rewards):
    http, model = rewards
    ids = [[2, 3, 4, 5], [7, 8, 9]]
    answer = http.post("/classify", json={"text": TEXTS[:2]}).json()
    wanted = [model(torch.tensor([each])).logits[0, 0].item() for each in ids]
    assert np.allclose([each["embedding"][0] for each in answer], wanted, atol=1e-4)
    for route, body in (("/v1/embeddings", {"input": "a"}), ("/rerank", {"query": "a", "documents": ["a"]})):
        assert http.post(route, json=body).status_code == 400


@pytest.mark.model
def test_score_and_rerank_of_a_cross_encoder_are_the_scores_of_the_pairs(server_process, tmp_path):
    folder = saved(tmp_path, "BertForSequenceClassification", model_type="bert", num_labels=1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        pairs = [tokenizer("a red fox", text, return_tensors="pt", return_token_type_ids=True) for text in TEXTS]
        wanted = [float(model(**pair).logits[0, 0]) for pair in pairs]
    server = served(server_process, folder)
    data = httpx.post(f"{server.url}/v1/score", json={"text_1": "a red fox", "text_2": TEXTS}).json()["data"]
    ranked = httpx.post(f"{server.url}/rerank", json={"query": "a red fox", "documents": TEXTS}).json()["results"]
    server.close()
    assert np.allclose([each["score"] for each in data], wanted, atol=1e-5)
    assert [each["index"] for each in ranked] == sorted(range(len(TEXTS)), key=lambda i: -wanted[i])


def test_a_model_that_makes_text_encodes_nothing(real_server):
    answer = httpx.post(f"{real_server.url}/encode", json={"text": "a"})
    assert answer.status_code == 400
    assert "is-embedding" in answer.text
