"""Answers every GET with the settings that a model service gets."""

import http.server
import json
import os


class Own(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"service": "own", "tracking_uri": os.environ["MLFLOW_TRACKING_URI"], "user": os.environ["MLFLOW_TRACKING_USERNAME"]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Own).serve_forever()
