"""Chat messages in a model's template → token ids, of which only those that the template wrote are control tokens.

A tokenizer makes the token of a control token's name, wherever it stands: a document could end the user's turn and
speak as the system. So names in messages are marked before the template sees them, and are read as plain text after it.
What a template looks for in a message, or trims from it, stays where it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import accumulate, groupby

from tokenizers import AddedToken, Tokenizer

_START, _END = "\U000ffffe", "\U000fffff"
"""Around a marked name. Unicode keeps them for use inside a program, so no text loses what its reader needs."""
_MARK = re.compile(f"[{_START}{_END}]")
ESCAPED_MARK = re.compile(r"\\udbbf\\udff[ef]|\\U000ffff[ef]", re.IGNORECASE)
"""A mark as JSON of ASCII alone or Python's repr writes it."""
_LINE_BREAK = "\n"


class PromptEncoder:
    """Encodes prompts for the model whose tokenizer this is, which nobody may change from now on.

    Its methods block, and may run in several threads.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = _whole(tokenizer)
        self._longest_token = max(map(len, self._tokenizer.get_vocab()))
        control = [*filter(_is_control, self._tokenizer.get_added_tokens_decoder().values())]
        self._control_ids = {self._tokenizer.token_to_id(token.content) for token in control}
        normalized = {self._normal(token.content) for token in control if token.normalized}
        self._normalizes_names = bool(normalized) and self._tokenizer.normalizer is not None
        names = {token.content for token in control} | normalized
        self._names = re.compile(_any_of(names))
        self._marked = re.compile(f"{_START}({self._names.pattern}){_END}|{_MARK.pattern}")
        self._beginnings = tuple({name[:length] for name in names for length in range(1, len(name))})
        self._ends = tuple({name[-length:] for name in names for length in range(1, len(name))})
        self._line_break = self._ids([_LINE_BREAK])[0]
        self._name_ids = {name: self._as_text(name) for name in names}

    def max_characters(self, tokens: int) -> int:
        """A text of more characters has more tokens."""
        return tokens * self._longest_token

    def mark(self, text: str) -> str:
        """The text as a chat template is to get it."""
        text = self._names.sub(f"{_START}\\g<0>{_END}", self._with_all_names(_MARK.sub("", text)))
        # A template may put something beside the text, and both must not make a name together.
        if (body := text.rstrip()).endswith(self._beginnings):
            text = body + _END + text[len(body) :]
        if (body := text.lstrip()).startswith(self._ends):
            text = text[: len(text) - len(body)] + _END + body
        return text

    def encode(self, rendered: str) -> list[int]:
        """The token ids of a chat template's text, in which messages are marked."""
        # Text, name, text, name, …, text. The name is None where a mark is alone: a template may cut a text there.
        first, *rest = self._marked.split(rendered)
        names, texts = rest[::2], rest[1::2]
        ids, *following = self._ids([first, *(_LINE_BREAK + text for text in texts)])
        for name, text, text_ids in zip(names, texts, following, strict=True):
            ids += self._name_ids[name] if name else ()
            ids += self._continued(text, text_ids)
        return ids

    def encode_text(self, text: str) -> list[int]:
        """The token ids of a text that no chat template wrote, after what the tokenizer begins each text with. The text
        itself becomes no control token."""
        begin: list[int] = self._tokenizer.encode("", add_special_tokens=True).ids
        return begin + self.encode(self.mark(text))

    def count(self, texts: Sequence[str], most: int) -> list[int]:
        """Tokens of each text as it would stand in a prompt of `most` tokens.

        Texts beyond the characters that fit into a prompt are not read: their bytes are given, which are as many or
        more.
        """
        totals = accumulate(map(len, texts))
        return [
            len(self.encode(self.mark(text))) if total <= self.max_characters(most) else len(text.encode())
            for text, total in zip(texts, totals, strict=True)
        ]

    def _with_all_names(self, text: str) -> str:
        """The text; as the tokenizer normalises it, if that shows names of control tokens which it does not have."""
        if not self._normalizes_names:
            return text
        normal = self._normal(text)
        # Each name by itself: else one that normalising takes away would hide one that it brings.
        return normal if Counter(self._names.findall(normal)) - Counter(self._names.findall(text)) else text

    def _normal(self, text: str) -> str:
        normalizer = self._tokenizer.normalizer
        normal: str = text if normalizer is None else normalizer.normalize_str(text)
        return normal

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def _continued(self, text: str, ids: list[int]) -> list[int]:
        """The ids of a text that continues another one; `ids` are those of it after a line break.

        At its beginning some tokenizers would put a space before it.
        """
        count = len(self._line_break)
        return ids[count:] if ids[:count] == self._line_break else self._ids([text])[0]

    def _as_text(self, name: str) -> list[int]:
        """A control token's name as the ids of its letters."""
        ids = self._without_added_tokens(name)
        if self._control_ids.isdisjoint(ids):
            return ids
        return [token_id for character in name for token_id in self._without_added_tokens(character)]

    def _without_added_tokens(self, text: str) -> list[int]:
        line_break, after = self._plain_ids(_LINE_BREAK), self._plain_ids(_LINE_BREAK + text)
        count = len(line_break)
        return after[count:] if after[:count] == line_break else self._plain_ids(text)

    def _plain_ids(self, text: str) -> list[int]:
        splitter, model = self._tokenizer.pre_tokenizer, self._tokenizer.model
        text = self._normal(text)
        words = [text] if splitter is None else [word for word, _ in splitter.pre_tokenize_str(text)]
        return [token.id for word in words for token in model.tokenize(word)]


def _whole(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer; a copy, which takes seconds to make, if it shortens or pads texts."""
    if tokenizer.truncation is None and tokenizer.padding is None:
        return tokenizer
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _is_control(token: AddedToken) -> bool:
    """Whether a text must not become this added token. Vocabularies have words and white space as added tokens too."""
    return token.special or not (token.content.isspace() or token.content.replace(" ", "").isalnum())


def _any_of(names: Collection[str]) -> str:
    """A pattern of the longest of the names at a place.

    Names share their beginnings in it. Otherwise a text of nothing but beginnings would take minutes.
    """
    branches: list[str] = [
        re.escape(first) + _any_of({name[1:] for name in group})
        for first, group in groupby(sorted(filter(None, names)), key=lambda name: name[0])
    ]
    if not branches:
        return "" if names else "(?!)"
    if len(branches) == 1 and "" not in names:
        return branches[0]
    return f"(?:{'|'.join(branches)})" + ("?" if "" in names else "")
