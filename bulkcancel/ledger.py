import csv, io, os
from bulkcancel.errors import OutputError

COLS = "instanceId outcome status modelName modelVersion modelId httpStatus attempts error latencyMs finishedAt host source".split()


class StreamLedger:
    resumed = None
    kept_failures = 0

    def __init__(self, fd, json=False):
        self.fd = fd
        self.json = json

    def write(self, rs):
        s = io.StringIO()
        w = csv.writer(s, lineterminator="\n")
        for r in rs:
            w.writerow(
                [
                    r.instance_id,
                    r.outcome,
                    r.status,
                    r.model_name,
                    r.model_version,
                    r.model_id,
                    r.http_status,
                    r.attempts,
                    r.error,
                    r.latency_ms,
                    r.finished_at.isoformat(),
                    r.host,
                    r.source,
                ]
            )
        os.write(self.fd, s.getvalue().encode())

    def sync(self):
        pass

    def close(self):
        pass

    def discard(self):
        pass


class Ledger(StreamLedger):
    @classmethod
    def open(cls, path, *, host, resume, overwrite):
        l = cls(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        os.write(l.fd, (",".join(COLS) + "\n").encode())
        return l
