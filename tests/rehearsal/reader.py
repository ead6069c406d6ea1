# SPDX-License-Identifier: Apache-2.0
"""The load test's customers, who also write down each turn, and which edition of
the scripts answered: "[edition N]" at the end of what brands say."""
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
        answer = load.answer_of(response)
        editions = sorted(set(EDITION.findall(answer["reply"]["text"])))
        load.log.info("answer turn=%s began=%.3f editions=%s generation=%s", answer["turn_id"],
                      self.began, ",".join(editions), response.headers.get("Xin-Generation"))
        return None


globals().update(load.customers(Reader))
