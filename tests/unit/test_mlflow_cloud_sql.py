"""What MLflow's gate makes of the Cloud SQL proxy's metrics."""

import http.server
import pathlib
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "roles/images/files/mlflow"))
from mlops_mlflow.cloud_sql import CLOSED, SAID, Proxy

INSTANCE = "my-project:europe-west1:mlflow"
OTHER = "my-project:europe-west1:other"


def metrics(instance=INSTANCE, success=0, dial=0, **failures):
    """The proxy's text; failures: Google's reason ("none" for an empty one) -> count. A series that never counted is not there."""
    lines = [f'cloudsqlconn_refresh_success_count{{cloudsql_dialer_id="1",cloudsql_instance="{instance}"}} {success}'] if success else []
    lines += [f'cloudsqlconn_dial_failure_count{{cloudsql_dialer_id="1",cloudsql_instance="{instance}"}} {dial}'] if dial else []
    lines += [f'cloudsqlconn_refresh_failure_count{{cloudsql_dialer_id="1",cloudsql_error_code="{"" if reason == "none" else reason}",'
              f'cloudsql_instance="{instance}"}} {count}' for reason, count in failures.items()]
    return "".join(line + "\n" for line in lines)


@pytest.fixture
def proxy():
    """A proxy of given metrics, one text an attempt, and Google's API at /google; "down" ends the answers."""
    texts = []

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if self.path == "/google" else 503 if texts[0] == "down" else 200)
            self.end_headers()
            if self.path == "/metrics":
                self.wfile.write(texts.pop(0).encode())

        def log_message(self, *_args):
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"

        def make(*given, google=None, key="true"):
            texts[:] = given
            return Proxy({"MLOPS_CLOUD_SQL_INSTANCE": INSTANCE, "MLOPS_CLOUD_SQL_METRICS": here + "/metrics", "MLOPS_CLOUD_SQL_IP": "private",
                          "MLOPS_CLOUD_SQL_KEY": key, "MLOPS_CLOUD_SQL_GOOGLE": google or here + "/google"})

        yield make
        server.shutdown()


@pytest.mark.parametrize("texts, sentence, patience", [
    (["", "down"], "the proxy is down", CLOSED),
    (["", metrics(none=2, notAuthorized=2)], f"the key has no permission for {INSTANCE} (Google says notAuthorized)", SAID),
    (["", metrics(none=1, instanceDoesNotExist=1)], f"there is no instance {INSTANCE} (Google says instanceDoesNotExist)", SAID),
    (["", metrics(none=1)], "Google refuses the key", SAID),
    (["", metrics(success=1, dial=1)], f"the instance {INSTANCE} cannot be reached over its private address", CLOSED),
    # A connection attempt that goes on for longer than the client waits counts nowhere yet.
    ([metrics(success=1), metrics(success=1)], f"the instance {INSTANCE} cannot be reached over its private address", CLOSED),
    (["", ""], f"Google has not answered for {INSTANCE} yet", CLOSED),
    # Of another instance, and of the time before.
    (["", metrics(OTHER, notAuthorized=3)], "Google has not answered", CLOSED),
    ([metrics(success=1, notAuthorized=3), metrics(success=1, dial=1, notAuthorized=3)], "the instance", CLOSED),
])
def test_one_attempt_has_one_cause(proxy, texts, sentence, patience):
    found = proxy(*texts).cause()
    assert found.text.startswith(f"Cloud SQL: {sentence}") and found.patience == patience, found


def test_a_reason_stays_until_google_says_yes(proxy):
    made = proxy("", metrics(notAuthorized=1), metrics(notAuthorized=1, none=1), metrics(notAuthorized=1, none=1), metrics(success=1, notAuthorized=1, none=1))
    causes = [made.cause().text for _attempt in range(4)]
    assert len(set(causes[:3])) == 1 and "notAuthorized" in causes[0] and "cannot be reached" in causes[3]


def test_no_way_to_google_is_no_refusal(proxy):
    found = proxy("", metrics(none=1), google="http://127.0.0.1:1/").cause()
    assert found.text.startswith("Cloud SQL: http://127.0.0.1:1/ cannot be reached (") and "refused" in found.text and found.patience == CLOSED


def test_without_a_key_the_machine_is_meant(proxy):
    assert "the identity of this machine has no permission" in proxy("", metrics(forbidden=1), key="false").cause().text
    assert "no token for the identity of this machine" in proxy("", metrics(none=1), key="false").cause().text
