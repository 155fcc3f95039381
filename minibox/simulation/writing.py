"""Simulated people store contents, by every door there is."""

from collections.abc import Awaitable

from minibox.client.bodies import BytesBody
from minibox.http_api import files as api
from minibox.http_api.headers import ACK, IDEMPOTENCY_KEY
from minibox.http_api.route import Route
from minibox.http_api.uploads import Begin
from minibox.simulation.person import Person, sha_of
from minibox.simulation.staging import put_directly

_BOUNDARY = "simulated-boundary"


class Writing(Person):
    """Puts, forms, the direct path, rivals, and uploads that break off."""

    async def put(self, content: bytes | None = None) -> None:
        """A new file, or a new version of one, at a path."""
        content = self._contents.make() if content is None else content
        query, base = api.WriteQuery(), None
        if self._likely(0.15):
            query = api.WriteQuery(on_conflict="rename")
        elif self._likely(0.15):
            query = api.WriteQuery(on_conflict="fail")
        path = self._path()
        await self._put(api.PUT_CONTENT, {"path": path}, content, query, base)

    async def replace(self) -> None:
        """A new version of a known file, mostly over the version that was seen."""
        file = self._some(self._home.files)
        if file is None:
            return
        base = self._home.heads.get(file) if self._likely(0.7) else None
        query = api.WriteQuery(base=base or None)
        content = self._contents.make()
        await self._put(api.CHANGE_FILE, {"file_id": file}, content, query, base)

    async def race(self) -> None:
        """Two commits over one base at the same time."""
        file = self._some(self._home.heads)
        if file is None:
            return
        base = self._home.heads[file]
        query = api.WriteQuery(base=base)
        rivals = [
            self._cluster.together(
                self._put(
                    api.CHANGE_FILE, {"file_id": file}, self._contents.make(small=True), query, base
                )
            )
            for _ in range(2)
        ]
        for rival in rivals:
            await rival

    async def _put(
        self,
        route: Route[api.WriteQuery, None, api.Uploaded],
        params: dict[str, str],
        content: bytes,
        query: api.WriteQuery,
        base: str | None,
    ) -> None:
        began = self._cluster.now
        sha256 = sha_of(content)
        headers = {"Content-Type": "application/octet-stream"}
        if self._likely(0.1):
            headers[ACK] = self._generator.choice(("2", "all"))
        sending = self._http.send(
            route, params, lambda _: BytesBody(content), query=query, headers=headers
        )
        label = f"{route.name} {next(iter(params.values()))} {len(content)}"
        outcome = await self._asking.ask(label, sending)
        key = self._generator.randbytes(8).hex()
        self._stored(outcome, sha256, began, key=key, base=base)

    async def upload_form(self) -> None:
        """A form, under an idempotency key."""
        content, began = (
            self._contents.make(small=self._likely(0.5)),
            self._cluster.now,
        )
        key = self._generator.randbytes(8).hex()
        mode = self._generator.choice(("rename", "replace", "fail"))
        body = _form({"path": self._path(), "on_conflict": mode}, content)
        headers = {
            IDEMPOTENCY_KEY: key,
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        }

        def again() -> Awaitable[api.Uploaded]:
            return self._http.send(api.UPLOAD, {}, lambda _: BytesBody(body), headers=headers)

        outcome = await self._asking.repeated(f"upload {len(content)}", key, again)
        self._stored(outcome, sha_of(content), began, key=key)

    async def put_directly(self) -> None:
        """Chunks to the nodes, then a commit under an idempotency key."""
        content, began = self._contents.make(), self._cluster.now
        key = self._generator.randbytes(8).hex()
        file = self._some(self._home.heads) if self._likely(0.4) else None
        base = self._home.heads[file] if file is not None else None
        begin = Begin(path=None if file else self._path(), file_id=file, base=base)
        world = self._cluster.client_world(self._asking.name)
        outcome = await put_directly(self._asking, world, begin, content, key, self._generator)
        self._stored(outcome, sha_of(content), began, key=key, base=base)

    async def abort_a_put(self) -> None:
        """The client goes away in the middle."""
        content = self._contents.make()
        self._promises.doubt([sha_of(content)])
        sending = self._cluster.together(
            self._http.send(api.PUT_CONTENT, {"path": self._path()}, lambda _: BytesBody(content))
        )
        sending.addErrback(lambda _: None)
        await self._cluster.pause(self._generator.uniform(0, 0.03))
        self._cluster.trace.event(self._asking.name, "aborts a put", len(content))
        sending.cancel()


def _form(fields: dict[str, str], content: bytes) -> bytes:
    head = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    file = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return (head + file).encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
