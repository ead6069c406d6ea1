# SPDX-License-Identifier: Apache-2.0
"""Marked secrets and texts, and a search that finds them in what came out: as
they are, in base64 at every alignment, percent-encoded, or JSON-escaped."""
import base64
import re
import secrets
import urllib.parse


def base64_parts(raw):
    """What of `raw` is sure to stand in the base64 of any text that holds it."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw + b"\0\0").decode()
        first = -(-before * 8 // 6)  # the first character that is of `raw` alone
        last = (before + len(raw)) * 8 // 6
        yield text[first:last]


def needles(mark):
    """Every form of `mark` that is searched for, by name."""
    raw = mark.encode()
    found = {"plain": mark}
    for i, part in enumerate(base64_parts(raw)):
        found[f"base64+{i}"] = part
        found[f"base64url+{i}"] = part.replace("+", "-").replace("/", "_")
    found["percent"] = "".join(f"%{b:02x}" for b in raw)
    found["json"] = "".join(f"\\u{ord(c):04x}" for c in mark)
    found["hex"] = raw.hex()
    return found


class Marks:
    def __init__(self):
        self.of = {}  # mark -> where it went in

    def new(self, place):
        # Letters and digits alone: no encoder leaves a part of it as it is and not the rest.
        mark = "Qz" + secrets.token_hex(9)
        self.of[mark] = place
        return mark

    def find(self, haystacks):
        """[(place of entry, form, haystack, excerpt)] over {name: bytes or str}."""
        leaks = []
        for name, hay in haystacks.items():
            text = hay if isinstance(hay, str) else hay.decode("latin-1")
            # Partly encoded text is decoded once; the whole forms are looked for as well.
            loose = urllib.parse.unquote(
                re.sub(r"\\u00([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), text))
            lower = text.lower()
            for mark, place in self.of.items():
                for form, needle in needles(mark).items():
                    if form.startswith("base64"):
                        hay_of, at = text, text.find(needle)
                    else:
                        hay_of, at = lower, lower.find(needle.lower())
                    if at < 0 and form == "plain":
                        hay_of, at = loose, loose.find(needle)
                    if at >= 0:
                        leaks.append((place, form, name, hay_of[max(0, at - 300):at + 60]))
                        break
        return leaks
