"""Millionths of a currency as people read them. Pure."""


def shown(micros: int, *, decimals: int = 2, sign: bool = False) -> str:
    """`1,234.56`, to the nearest; with `sign` a plus before what is more than nothing, and a true minus."""
    step = 10 ** (6 - decimals)
    whole, rest = divmod((abs(micros) + step // 2) // step, 10**decimals)
    text = f"{whole:,}.{rest:0{decimals}}"
    if whole == rest == 0:
        return text
    return f"\u2212{text}" if micros < 0 else f"+{text}" if sign else text
