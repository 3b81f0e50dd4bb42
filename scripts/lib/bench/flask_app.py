"""What most begin with: a Flask app with its users in the source, which Countersign is measured beside."""

import secrets, time

import jwt
from flask import Flask, jsonify, request
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth
from werkzeug.security import check_password_hash, generate_password_hash

app = Flask(__name__)
KEY = "a-secret-of-32-bytes-or-a-little-more"
USERS = {"sergio": generate_password_hash("my-password")}
# Of all workers, so that each knows the token whichever gave it.
TOKENS = {"20f876eb-15be-4640-a308-82467d1d331a": "sergio"}

basic, token = HTTPBasicAuth(), HTTPTokenAuth("Bearer")


@basic.verify_password
def verify_password(username, password):
    if username in USERS and check_password_hash(USERS[username], password):
        return username


@token.verify_token
def verify_token(value):
    if value in TOKENS:
        return TOKENS[value]
    try:
        return jwt.decode(value, KEY, algorithms=["HS256"])["sub"]
    except jwt.InvalidTokenError:
        return None


either = MultiAuth(basic, token)


@app.post("/login")
def login():
    username = verify_password(request.json["username"], request.json["password"])
    if not username:
        return jsonify(error="wrong username or password"), 401
    opaque = secrets.token_hex(16)
    TOKENS[opaque] = username
    return jsonify(token=jwt.encode({"sub": username, "exp": time.time() + 1800}, KEY, "HS256"), opaque_token=opaque)


@app.get("/me")
@either.login_required
def me():
    return jsonify(username=either.current_user())
