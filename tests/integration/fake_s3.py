"""A small S3 server in memory that can be told to misbehave; it checks content hashes, not signatures."""
import hashlib
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeS3:
    """faults: a function (method, key, count of requests) -> None, or a status to answer with instead of acting.
    conditions: "kept"; "ignored" (every put wins); "racy" (checked, but not together with the writing)."""

    def __init__(self, faults=lambda method, key, count: None, conditions="kept"):
        self.faults, self.conditions = faults, conditions
        self.objects, self.uploads, self.count, self.lock = {}, {}, 0, threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def answer(self, status, body=b"", **headers):
                if outer.is_down:  # it was acted on, but nobody hears of it
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                if "Content_Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def refuse(self, status, code):
                self.answer(status, b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode())

            def handle_one(self):
                if outer.is_down:
                    self.close_connection = True
                    return None
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path, _, query = self.path.partition("?")
                _, _, key = urllib.parse.unquote(path)[1:].partition("/")
                query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
                with outer.lock:
                    outer.count += 1
                    count = outer.count
                status = outer.faults(self.command, key, count)
                if status:
                    return self.refuse(status, "Injected")
                if hashlib.sha256(body).hexdigest() != self.headers["x-amz-content-sha256"]:
                    return self.refuse(400, "XAmzContentSHA256Mismatch")
                getattr(self, "on_" + self.command.lower())(key, query, body)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_one

            def store(self, key, data, put_id):
                conditional = self.headers.get("If-None-Match") == "*" and outer.conditions != "ignored"
                if outer.conditions == "racy":
                    taken = conditional and key in outer.objects
                    time.sleep(0.05)
                    if taken:
                        return False
                    conditional = False
                with outer.lock:
                    if conditional and key in outer.objects:
                        return False
                    outer.objects[key] = (data, put_id)
                return True

            def on_put(self, key, query, body):
                tag = hashlib.md5(body).hexdigest()
                if "uploadId" in query:
                    outer.uploads[query["uploadId"]][1][int(query["partNumber"])] = body
                    return self.answer(200, ETag=f'"{tag}"')
                done = self.store(key, body, self.headers.get("x-amz-meta-openduck-put", ""))
                return self.answer(200, ETag=f'"{tag}"') if done else self.refuse(412, "PreconditionFailed")

            def on_post(self, key, query, body):
                if "uploads" in query:
                    name = f"upload/{outer.count}=="
                    outer.uploads[name] = (self.headers.get("x-amz-meta-openduck-put", ""), {})
                    return self.answer(200, f"<R><UploadId>{name}</UploadId></R>".encode())
                put_id, parts = outer.uploads[query["uploadId"]]
                done = self.store(key, b"".join(parts[i] for i in sorted(parts)), put_id)
                return self.answer(200, b"<R></R>") if done else self.refuse(412, "PreconditionFailed")

            def on_head(self, key, query, body):
                if key not in outer.objects:
                    return self.refuse(404, "NoSuchKey")
                data, put_id = outer.objects[key]
                return self.answer(200, Content_Length=str(len(data)), x_amz_meta_openduck_put=put_id)

            def on_get(self, key, query, body):
                if not key:
                    return self.on_list(query)
                if key not in outer.objects:
                    return self.refuse(404, "NoSuchKey")
                data = outer.objects[key][0]
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                part = data[int(first):int(last) + 1]
                return self.answer(206, part) if part else self.refuse(416, "InvalidRange")

            def on_list(self, query):
                with outer.lock:
                    keys = sorted(key for key in outer.objects
                                  if key.startswith(query["prefix"]) and key > query.get("start-after", ""))
                page = keys[:3]  # small pages, so that every list has several
                items = "".join(f"<Contents><Key>{key}</Key><Size>{len(outer.objects[key][0])}</Size></Contents>"
                                for key in page)
                cut = str(len(keys) > len(page)).lower()
                return self.answer(200, f"<L><IsTruncated>{cut}</IsTruncated>{items}</L>".encode())

            def on_delete(self, key, query, body):
                with outer.lock:
                    outer.objects.pop(key, None)
                return self.answer(204)

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self.make = lambda port: Server(("127.0.0.1", port), Handler)
        self.port = 0
        self.start_again()

    def start_again(self):
        self.is_down = False
        self.server = self.make(self.port)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """As when its process is killed; the objects stay."""
        self.is_down = True
        self.close()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
