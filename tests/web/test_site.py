"""The page over HTTP: whom it answers, what, and that nothing a client sends gets it a traceback or another's answer.

.venv/bin/python -m pytest tests/web/test_site.py
"""

import contextlib
import csv
import io
import json
import socket
import threading

import pytest

from mmclf.errors import ConfigError
from mmclf.scoring.limits import Allowance, Limits
from mmclf.web import site
from mmclf.web.neighbours import Neighbours
from mmclf.web.serving import served
from tests.threads import until
from tests.web.asking import product

TITLE = {"title": "red shoe", "description": "soft"}


@pytest.fixture
def picture(catalog, both) -> bytes:
    return (catalog.image_root / catalog.rows.pictures[both][0]).read_bytes()


def test_the_page_asks_nobody_else(ask):
    here = ask()
    status, page, headers = here("GET", "")
    assert status == 200
    assert "<title>a &lt;model&gt;</title>" in page
    assert 'data-column="title"' in page
    assert "start it with --csv" in page
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert headers["cache-control"] == "no-store"
    for name, start in (("app.js", '"use strict"'), ("app.css", ":root")):
        status, text, _ = here("GET", f"static/{name}")
        assert (status, text.startswith(start)) == (200, True)
        assert "http:" not in text.replace("http://www.w3.org", "")
    assert here("GET", "static/site.py")[0] == 404
    assert here("GET", "static/..%2Fsite.py")[0] == 404


def test_limits_are_said_where_there_are_any(ask):
    assert "At most 7 rows and 2 MiB at a time." in ask(Limits(rows=7, body_bytes=2 * 2**20))("GET", "")[1]
    assert "At most" not in ask()("GET", "")[1]


def test_thresholds_are_offered(ask, stepped):
    page = ask()("GET", "")[1]
    assert '<option value="0.9">90 % right, labels about 50 %</option>' in page
    assert "The model has no thresholds" in ask(model=stepped)("GET", "")[1]


def test_a_product_is_answered(ask, scorer, catalog, picture):
    known = Neighbours(catalog.rows, catalog.labels, scorer.features(catalog.rows, batch_size=8))
    found = ask(neighbours=known).json("POST", "products", product(TITLE, picture, precision=0.99))
    assert (len(found["top"]), len(found["alone"]), len(found["neighbours"])) == (5, 2, 6)
    assert found["top"][0]["label"] == found["label"]
    assert (found["is_assigned"], found["least"]) == (False, 1.01)
    assert ask().json("POST", "products", product(TITLE))["neighbours"] is None


def test_two_at_once_get_each_their_own(ask, catalog):
    here = ask()
    texts = catalog.rows.texts[:8]
    alone = [here.json("POST", "products", product({"title": text}))["top"] for text in texts]
    together = {}

    def one(text: str) -> None:
        together[text] = here.json("POST", "products", product({"title": text}))["top"]

    threads = [threading.Thread(target=one, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[text] for text in texts] == alone


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "the request is not valid JSON"),
        (b"[" * 100_000, 400, "the request is not valid JSON"),
        ({"texts": {}}, 400, "there is nothing to go by; drop a picture or write a text"),
        (product({"colour": "x"}), 400, "texts: colour: no such text; the model reads title, description"),
        (product(TITLE, b"no picture"), 400, "0.png: cannot identify image file"),
        (product(TITLE, precision="much"), 400, "precision: found 'much'; it should be a number below 1"),
        (product(TITLE, precision=0.95, more=1), 400, None),
        (product({"title": "x" * 31}), 413, "title: 31 characters are too many (at most 30)"),
        (product({"title": "x" * 2000}), 413, "the pictures together are larger than"),
    ],
)
def test_mistakes_are_sentences(ask, body, status, said):
    here = ask(Limits(characters=30, body_bytes=1500 if status == 413 else 10**6))
    if said is None:  # the next higher precision that has a threshold
        assert here.json("POST", "products", body)["least"] == 1.01
        return
    found, error = here.error("POST", "products", body)
    assert (found, error.startswith(said)) == (status, True), error


def test_a_bug_is_a_sentence_and_its_traceback_in_the_log(ask, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(site, "judge", fail)
    assert ask().error("POST", "products", product(TITLE)) == (
        500,
        "the app failed (ZeroDivisionError); its log says where",
    )
    assert "Traceback" in capsys.readouterr().err


def test_who_waits_too_long_is_told(ask, scorer):
    here = ask(Limits(wait_seconds=0, requests=1))
    with scorer._turns.taken(Allowance()):
        status, error = here.error("POST", "products", product(TITLE))
    assert (status, error.startswith("the model is busy: others were before this request")) == (503, True)
    assert ask(Limits(requests=0)).error("POST", "products", product(TITLE))[0] == 503


def test_large_requests_are_held_a_few_at_a_time(ask):
    here = ask(Limits(body_bytes=2**20))
    half = b"x" * 2**19
    with contextlib.ExitStack() as stack:
        for _ in range(2 * site.BODIES):  # clients that have sent half of what they may
            client = stack.enter_context(socket.create_connection(("127.0.0.1", here.port)))
            head = f"POST /products HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {2**20}\r\n\r\n"
            client.sendall(head.encode() + half)
        # else it may be one of these that is refused in place of the next
        until(lambda: here.site._bytes == 2 * site.BODIES * len(half))
        assert here.error("POST", "products", half)[0] == 503
    until(lambda: here("POST", "products", product(TITLE))[0] == 200)


def test_whoever_has_gone_is_not_worked_for(ask, scorer):
    here = ask()
    body = json.dumps(product(TITLE)).encode()
    turns = scorer._turns
    with turns.taken(Allowance()):
        with socket.create_connection(("127.0.0.1", here.port)) as client:
            head = f"POST /products HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            until(lambda: len(turns._line) == 2)
        until(lambda: len(turns._line) == 1)


def test_pages_of_others_are_not_answered(ask):
    here = ask()
    own = here.url.rstrip("/")
    assert here("POST", "tables", b"", Origin=own)[0] == 201
    assert here("POST", "tables", b"", Origin="https://evil.example")[0] == 403
    assert here("POST", "tables", b"", Origin="null")[0] == 403
    assert here("GET", "", Host="evil.example")[0] == 400
    assert here("GET", "", Host="localhost:1")[0] == 200


def test_a_table_comes_back_labelled(ask, picture):
    here = ask()
    files = {"shop.csv": "id,title,description\nköln 1,red shoe,soft\n".encode(), "köln 1.png": picture}
    progress, place = here.label(files)
    assert (progress["stage"], progress["rows"], progress["error"]) == ("done", 1, "")
    status, text, headers = here("GET", f"{place}/labelled.csv")
    assert (status, headers["content-disposition"]) == (200, 'attachment; filename="labelled.csv"')
    assert list(csv.reader(io.StringIO(text))) == [["id", "categories"], ["köln 1", progress["lines"][0]["label"]]]
    assert here.error("PUT", f"{place}/files?name=a.png", b"x") == (400, "these files are being labelled already")
    assert here("DELETE", place)[0] == 204
    assert here("DELETE", place)[0] == 204
    assert here.error("GET", f"{place}/labelled.csv") == (400, "these files aren't here any more; send them again")


def test_a_table_that_cannot_be_used_says_why(ask):
    progress, place = ask().label({"shop.csv": b"name\nx\n"})
    assert progress["stage"] == "failed"
    assert progress["error"].startswith("shop.csv: no id column 'id'")


def test_the_result_is_there_when_it_is_done(ask):
    here = ask()
    place = here.send({})
    assert here.error("GET", f"{place}/labelled.csv") == (400, "the table isn't labelled yet")
    assert here.error("POST", f"{place}/start", {"precision": 0.9999})[1].startswith("precision: found 0.9999, but")
    assert here.error("PUT", f"{place}/files?name=a.exe", b"x") == (
        400,
        "a.exe: is neither a picture, a .csv nor a .zip",
    )
    assert here.error("PUT", f"{place}/files", b"x")[1].endswith("can't be the name of a file here; rename it")


def test_a_file_that_is_too_large_is_read_to_its_end_and_refused(ask):
    """A client that is still sending doesn't listen."""
    here = ask(Limits(picture_bytes=2**20))
    place = here.send({})
    status, error = here.error("PUT", f"{place}/files?name=a.png", bytes(20 * 2**20))
    assert (status, error) == (413, "a.png: is larger than 1 MiB; send a smaller one")


def test_a_port_that_is_taken_is_named(ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=rf"^--port: 127\.0\.0\.1:{port}: can't be listened on: Address already"),
            served(None, "127.0.0.1", port),
        ):
            pass
    with (
        pytest.raises(ConfigError, match=r"^--host: nowhere\.invalid: can't be listened on"),
        served(None, "nowhere.invalid", 0),
    ):
        pass
