"""Clients that log in and out, and remember what was acknowledged to them."""

import base64
import collections
import http.client
import json
import random
import threading
import time

from server import PASSWORD, USERS

CLIENTS = 12
# A client is told within this, or counts as cut off.
PATIENCE = 40


def ask(port, method, path, authorization=None, connection=None):
    """The status and the JSON of an answer; 0 when there was none."""
    own = connection is None
    connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers={"authorization": authorization} if authorization else {})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
        return 0, None
    finally:
        if own:
            connection.close()


class Clients:
    """What they were told: `alive` tokens of acknowledged logins, `ended` those of acknowledged logouts."""

    def __init__(self, server):
        self.server = server
        self.alive, self.ended, self.seen = [], [], collections.Counter()
        self.acknowledged, self.wrong, self.slowest = 0, 0, 0.0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(PATIENCE * 2)

    def told(self, status, begun):
        with self.lock:
            self.seen[status or "cut"] += 1
            self.slowest = max(self.slowest, time.monotonic() - begun)

    def work(self, number):
        chance, mine = random.Random(number), []
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        while not self.stopping.is_set():
            begun = time.monotonic()
            if mine and chance.random() < 0.3:
                token = mine.pop(chance.randrange(len(mine)))
                status, _ = ask(self.server.port, "POST", "/logout", token, connection)
                # Without an acknowledgement nobody knows, so the token is forgotten.
                if status == 204:
                    with self.lock:
                        self.ended.append(token)
                        self.acknowledged += 1
            elif mine and chance.random() < 0.3:
                status, _ = ask(self.server.port, "GET", "/me", chance.choice(mine), connection)
                # A token that is good is never refused: 503 while it cannot be asked, but not 401.
                self.wrong += status == 401
            else:
                user = f"user-{chance.randrange(USERS)}"
                basic = "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
                status, login = ask(self.server.port, "POST", "/login", basic, connection)
                self.wrong += status == 401
                if status == 200:
                    mine.append("Bearer " + login["opaque_token"])
                    self.acknowledged += 1
            self.told(status, begun)
            if status in (0, 503):
                time.sleep(0.02)
        with self.lock:
            self.alive += mine

    def audit(self):
        """How many acknowledged logins are lost, and how many acknowledged logouts undone."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        status = lambda token: ask(self.server.port, "GET", "/me", token, connection)[0]
        lost = sum(status(token) != 200 for token in self.alive)
        revived = sum(status(token) != 401 for token in self.ended)
        connection.close()
        return lost, revived
