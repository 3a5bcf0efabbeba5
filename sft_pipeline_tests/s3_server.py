"""A real S3-compatible server for the tests of the remote store."""

import logging
import threading


class Server:
    """moto's server in a thread: what it holds stays when it stops answering, as with a network that is cut."""

    url = "s3://artifacts/lineage"

    def __init__(self):
        self.port = 0

    @property
    def fs(self):
        """The server's content, past the store."""
        import fsspec

        return fsspec.filesystem("s3", use_listings_cache=False)

    def start(self) -> None:
        """Start to answer, at the same port as before."""
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
        # What ThreadedMotoServer does, but that one looks only every half second whether to stop.
        application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", self.port, application, threaded=True)
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        self.port = self._server.server_port

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def flip_a_bit(self, name: str) -> str:
        """Flip a bit in the only file with that name; returns its path."""
        (path,) = (p for p in self.fs.find("artifacts") if p.endswith(name))
        data = bytearray(self.fs.cat_file(path))
        data[len(data) // 2] ^= 1
        self.fs.pipe_file(path, bytes(data))
        return path
