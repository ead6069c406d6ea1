# SPDX-License-Identifier: Apache-2.0
"""The load test's customers, who also write down which edition of the scripts
answered: brands end each answer with "[edition N]"."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "load"))
import locustfile as load  # noqa: E402

EDITION = re.compile(r"\[edition (\d+)\]")


class Reader(load.Conversation):
    abstract = True

    def say(self):
        self.began = time.time()
        super().say()

    def check_turn(self, response):
        problem = super().check_turn(response)
        if problem:
            return problem
        editions = set(EDITION.findall(load.answer_of(response)["reply"]["text"]))
        if len(editions) != 1:
            return f"an answer of editions {sorted(editions)}"
        load.log.info("answer began=%.3f edition=%s generation=%s", self.began, editions.pop(),
                      response.headers.get("Xin-Generation"))
        return None


globals().update(load.customers(Reader))
