"""A collector of OpenTelemetry that prints each span and each record of the log as a line of JSON, as Google's protobuf reads them.

Arguments: take, or refuse to answer 503 to everything; then the authorization that it asks for, or nothing; then the certificate
and the key for TLS, if it speaks that.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

kind, *rest = sys.argv[1:]
login = rest.pop(0) if rest else ""


def say(what):
    print(json.dumps(what), flush=True)


def value(any_value):
    which = any_value.WhichOneof("value")
    return getattr(any_value, which) if which else None


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if kind == "refuse" or (login and self.headers["authorization"] != login):
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        assert self.headers["content-type"] == "application/x-protobuf"
        if self.path == "/v1/traces":
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                for span in (span for scope in part.scope_spans for span in scope.spans):
                    say({
                        "span": span.name, "kind": span.kind, "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(), "error": span.status.code == 2, "attributes": attributes(span.attributes),
                        "took": span.end_time_unix_nano - span.start_time_unix_nano, "resource": attributes(part.resource.attributes),
                        "all": str(span),
                    })
        if self.path == "/v1/logs":
            for part in ExportLogsServiceRequest.FromString(body).resource_logs:
                for record in (record for scope in part.scope_logs for record in scope.log_records):
                    say({
                        "log": value(record.body), "level": record.severity_text, "trace": record.trace_id.hex(), "span_id": record.span_id.hex(),
                        "attributes": attributes(record.attributes), "resource": attributes(part.resource.attributes), "all": str(record),
                    })
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if rest:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*rest)
    server.socket = context.wrap_socket(server.socket, server_side=True)
say(server.server_port)
server.serve_forever()
