"""Further pages are ours to give: Meta's addresses bear the token."""

from services.ingress.edge.paging import without_secrets

NEXT = "https://graph.facebook.com/v23.0/55/message_templates?access_token=EAAsecret&appsecret_proof=ff&limit=2&after=QVFI"


def test_the_address_of_the_next_page_is_ours_and_bears_no_secret() -> None:
    answer = {"data": [], "paging": {"cursors": {"after": "QVFI"}, "next": NEXT}}
    found = without_secrets(answer, "https://wa.example", "/v22.0/55/message_templates")
    assert found == {
        "data": [],
        "paging": {
            "cursors": {"after": "QVFI"},
            "next": "https://wa.example/v22.0/55/message_templates?limit=2&after=QVFI",
        },
    }


def test_an_answer_without_pages_is_as_it_came() -> None:
    assert without_secrets({"id": "1", "paging": None}, "https://wa.example", "/") == {
        "id": "1",
        "paging": None,
    }
