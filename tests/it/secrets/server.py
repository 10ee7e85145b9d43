"""What real clients reach: HTTPS, gRPC and WebSocket origins that serve nobody without the token.

    server.py CERTIFICATE KEY TOKEN DIRECTORY

Prints the ports as JSON once it listens. DIRECTORY has the repository `repo.git`.
"""

import hashlib
import http.server
import io
import json
import os
import ssl
import subprocess
import sys
import threading
import zipfile
from concurrent import futures

import grpc
import websockets.sync.server

certificate, key, token, directory = sys.argv[1:]
address = "127.0.0.8"
bearer = f"Bearer {token}"


def wheel():
    files = {
        "canary_pkg.py": "value = 'installed'\n",
        "canary_pkg-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: canary-pkg\nVersion: 1.0\n",
        "canary_pkg-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in files) + "canary_pkg-1.0.dist-info/RECORD,,\n"
    files["canary_pkg-1.0.dist-info/RECORD"] = record
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


WHEEL = wheel()
INDEX = f'<a href="/files/canary_pkg-1.0-py3-none-any.whl#sha256={hashlib.sha256(WHEEL).hexdigest()}">w</a>'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body, kind="text/html"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get_all("Authorization") != [bearer]:
            return self.say(401, b"who?")
        path, _, query = self.path.partition("?")
        if path == "/simple/canary-pkg/":
            return self.say(200, INDEX.encode())
        if path.endswith(".whl"):
            return self.say(200, WHEEL, "application/octet-stream")
        if path.startswith("/repo.git/"):
            return self.git(path, query, body)
        self.say(200, b"you are " + bearer.encode() + b" with " + body)

    do_POST = do_GET

    def git(self, path, query, body):
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": directory,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "sandbox",
        }
        out = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=True).stdout
        head, _, rest = out.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.say(int(fields.get("Status", "200 OK").split()[0]), rest, fields["Content-Type"])


class Calls(grpc.GenericRpcHandler):
    def service(self, call):
        if dict(call.invocation_metadata).get("authorization") != bearer:
            return None
        if call.method == "/t.T/One":
            return grpc.unary_unary_rpc_method_handler(self.one)
        if call.method == "/t.T/Both":
            return grpc.stream_stream_rpc_method_handler(self.both)
        if call.method == "/t.T/Wait":
            return grpc.unary_unary_rpc_method_handler(lambda _, context: self.wait(context))
        return None

    def one(self, request, context):
        context.set_trailing_metadata((("x-sum", str(len(request))), ("x-echo", bearer)))
        return b"got " + request

    def both(self, requests, context):
        for request in requests:
            yield b"got " + request
        context.set_trailing_metadata((("x-sum", "end"),))

    def wait(self, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(30)
        return b""


def talk(socket):
    if socket.request.headers.get_all("Authorization") != [bearer]:
        return
    for message in socket:
        socket.send("got " + message)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
https = http.server.ThreadingHTTPServer((address, 0), Handler)
https.socket = context.wrap_socket(https.socket, server_side=True)
threading.Thread(target=https.serve_forever, daemon=True).start()

calls = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Calls()])
pair = (open(key, "rb").read(), open(certificate, "rb").read())
grpc_port = calls.add_secure_port(f"{address}:0", grpc.ssl_server_credentials([pair]))
calls.start()

sockets = websockets.sync.server.serve(talk, address, 0, ssl=context)
ports = [https.server_address[1], grpc_port, sockets.socket.getsockname()[1]]
print(json.dumps(ports), flush=True)
sockets.serve_forever()
