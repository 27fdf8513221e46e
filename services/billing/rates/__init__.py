"""Rate cards: Meta's files in, checked cards in the configuration folder out; `wam rates`.

`sheets.py` reads cells out of bytes, `card_file.py` cards out of cells, `checking.py` compares a card with the price book, `planning.py` says what an
import writes, `folder.py` writes it.
"""
