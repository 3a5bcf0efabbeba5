"""A real S3-compatible server for the tests of the remote store."""

import logging


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
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()

    def stop(self) -> None:
        """Stop answering."""
        self._server.stop()

    def flip_a_bit(self, name: str) -> str:
        """Flip a bit in the only file with that name; returns its path."""
        (path,) = (p for p in self.fs.find("artifacts") if p.endswith(name))
        data = bytearray(self.fs.cat_file(path))
        data[len(data) // 2] ^= 1
        self.fs.pipe_file(path, bytes(data))
        return path
