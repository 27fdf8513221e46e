"""With whose token an account is asked about: the account facts and the tokens by reference in, credentials out."""

from shared.accounts import AccountFacts, Number
from shared.tokens import Credentials, Tokens


class NoToken(Exception):
    """None of the references that an account names leads to a token."""


def credentials_of(facts: AccountFacts, waba_id: str, tokens: Tokens) -> tuple[str, Credentials]:
    """The reference of the token to ask about an account with, and the token with its proof.

    Raises:
        NoToken: the text names the references.
    """
    references = token_references(facts, waba_id)
    for reference in references:
        if credentials := tokens.get(reference):
            return reference, credentials
    raise NoToken(f"account {waba_id}: no token for {', '.join(references)}")


def token_references(facts: AccountFacts, waba_id: str) -> list[str]:
    """The references of tokens that may read an account, the likeliest first: those of its numbers, then `default`."""
    numbers = sorted(
        (not value.default, key[2], value.token)
        for key, value in facts.known().items()
        if isinstance(value, Number) and key[1] == waba_id
    )
    return list(dict.fromkeys((*(token for _, _, token in numbers), "default")))
