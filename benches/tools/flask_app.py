"""What most begin with: a Flask app that has its users in the source. `scripts/bench --peers` measures it."""

import time

import jwt
from flask import Flask, abort, request
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth
from werkzeug.security import check_password_hash, generate_password_hash

KEY = "a-secret-of-32-bytes-or-a-little-more"
USERS = {"sergio": generate_password_hash("my-password")}
TOKENS = {"20f876eb-15be-4640-a308-82467d1d331a": "sergio"}
app, basic, token = Flask(__name__), HTTPBasicAuth(), HTTPTokenAuth("Bearer")
either = MultiAuth(basic, token)


@basic.verify_password
def verify_password(username, password):
    return username if username in USERS and check_password_hash(USERS[username], password) else None


@token.verify_token
def verify_token(value):
    try:
        return TOKENS.get(value) or jwt.decode(value, KEY, algorithms=["HS256"])["sub"]
    except jwt.InvalidTokenError:
        return None


@app.post("/login")
def login():
    username = verify_password(request.json["username"], request.json["password"]) or abort(401)
    return {"token": jwt.encode({"sub": username, "exp": time.time() + 1800}, KEY, "HS256")}


@app.get("/me")
@either.login_required
def me():
    return {"username": either.current_user()}
