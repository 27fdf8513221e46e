"""`wam media erase`: all received files of a person, deleted from the object store. Exit codes as all of `wam`."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.ingress.media.settings import MediaSettings
from shared.logs import hasher
from shared.phone import canonical_user, is_bsuid
from shared.terminal import USAGE, AsJson, Unavailable, err, out, print_json, run, settings_of

if TYPE_CHECKING:
    from services.ingress.media.store import Obstore

app = typer.Typer(no_args_is_help=True, help="Received files.")


@app.callback()
def media() -> None:
    """Received files."""


@app.command()
def erase(
    user: Annotated[
        str, typer.Option("--of", help="Whose: the number in international form, or the business-scoped id.")
    ],
    as_json: AsJson = False,
) -> None:
    """Delete all files that a person sent, from the store; twice does no harm. What Meta still has is Meta's."""
    canonical = canonical_user(user) or (user if is_bsuid(user) else None)
    if canonical is None:
        err.print(
            "--of is neither a phone number with its country code nor a business-scoped id", markup=False
        )
        raise typer.Exit(USAGE)
    from services.ingress.media.store import Obstore  # the library is large, and `wam` has other commands

    settings = settings_of(MediaSettings)
    ref = hasher(settings.log_key.get_secret_value())(canonical)
    count = run(_erase(Obstore(settings), ref))
    if as_json:
        print_json({"files": count})
    else:
        out.print(f"{count} {'file' if count == 1 else 'files'} erased.", markup=False)


async def _erase(store: "Obstore", ref: str) -> int:
    from services.ingress.media.library import Library
    from services.ingress.media.store import StoreUnavailable

    await store.start()
    try:
        return await Library(store).erase_person(ref)
    except StoreUnavailable as error:
        raise Unavailable(f"the object store does not serve (WA_MEDIA_STORE): {error}") from error
    finally:
        await store.stop()
