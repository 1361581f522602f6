"""As little of an S3 client as measures what the server itself can do: signed requests on a connection for each thread."""
import datetime
import hashlib
import hmac
import http.client
import re
import threading
import urllib.parse


class PlainS3:
    def __init__(self, host, bucket, key, secret, region="us-east-1"):
        self.host, self.bucket, self.key, self.secret, self.region = host, bucket, key, secret, region
        self.local = threading.local()

    def request(self, method, path, query="", body=b"", **headers):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": now} | headers
        names = ";".join(sorted(headers))
        canonical = "\n".join([method, path, query, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names,
                               digest])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        key = b"AWS4" + self.secret.encode()
        for part in (now[:8], self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, "
                                    f"Signature={signature}")
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection(self.host, timeout=60)
        self.local.connection.request(method, path + ("?" + query if query else ""), body=body, headers=headers)
        answer = self.local.connection.getresponse()
        data = answer.read()
        assert answer.status in (200, 206), (method, path, answer.status, data[:300])
        return data

    def path(self, key):
        return f"/{self.bucket}/{urllib.parse.quote(key)}"

    def put(self, key, body):
        self.request("PUT", self.path(key), body=body, **{"if-none-match": "*"})

    def get(self, key, offset, size):
        return self.request("GET", self.path(key), range=f"bytes={offset}-{offset + size - 1}")

    def list(self, prefix):
        """{key: size}"""
        found, after = {}, ""
        while True:
            query = "list-type=2&max-keys=1000&prefix=" + urllib.parse.quote(prefix, safe="")
            query += "&start-after=" + urllib.parse.quote(after, safe="") if after else ""
            text = self.request("GET", f"/{self.bucket}", query).decode()
            page = re.findall(r"<Key>(.*?)</Key>.*?<Size>(\d+)</Size>", text, re.S)
            found |= {key: int(size) for key, size in page}
            if "<IsTruncated>true" not in text:
                return found
            after = page[-1][0]
