"""A bucket of runs that `kinetoscope convert --run` filled, asked by the engines that such buckets are for.

`make lake` installs the engines; without one its test is skipped. KINETOSCOPE_TRINO names the directory of a
Trino server, KINETOSCOPE_TRINO_JAVA the home of a Java that is new enough for it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TORCH = sorted((ROOT / "trace" / "kineto" / "testdata").glob("torch_gloo_rank*.json.gz"))
BY_RANK = ["slices", "tracks", "flows", "counters", "instants", "ops", "kernels", "steps"]
BY_RUN = ["ranks", "requests", "findings"]
ODD = "ödd' run=2 %"  # what a path cannot hold as it is, and SQL must quote

# Questions in the words that all engines know; each is answered alike by all of them.
TIME = "select run, stage, rank, kind, count(*), sum(dur) from slices group by run, stage, rank, kind"
JOINS = [
    "select k.run, k.rank, o.name, count(*), sum(k.dur) from kernels k "
    "join slices o on o.trace = k.trace and o.id = k.op_id group by k.run, k.rank, o.name",
    "select r.run, s.stage, s.kind, count(*), sum(s.dur), sum(s.busy), min(r.world_size) from steps s "
    "join ranks r on r.trace = s.trace group by r.run, s.stage, s.kind",
    "select o.run, o.device, count(*), sum(o.self_cpu), sum(o.calls) from ops o "
    "join ranks r on r.trace = o.trace and r.run = o.run group by o.run, o.device",
]
ONE = "select count(*), sum(dur) from slices where run = 'card' and rank = 1"

Rows = list[tuple[Any, ...]]
Ask = Callable[[str], Rows]


def same(got: Sequence[Sequence[Any]], want: Sequence[Sequence[Any]], what: str) -> None:
    a, b = Counter(map(tuple, got)), Counter(map(tuple, want))
    assert a == b, f"{what}: only here {list((a - b).items())[:3]}, only there {list((b - a).items())[:3]}"


class Bucket:
    """A bucket, and what `kinetoscope sql` says of it."""

    def __init__(self, program: str, path: Path) -> None:
        self.program, self.path = program, path

    def run(self, verb: str, *args: str | Path) -> str:
        command = [self.program, verb, *args]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def add(self, run: str, *traces: Path) -> None:
        self.run("convert", *traces, "-o", f"{self.path}/", "--run", run)

    def ask(self, question: str) -> Rows:
        return [tuple(row.values()) for row in json.loads(self.run("sql", self.path, "--json", question))]

    def declare(self, engine: str, location: str) -> list[str]:
        out = self.run("sql", self.path, "--declare", engine, "--at", location)
        return [s for s in out.removesuffix(";\n").split(";\n") if s]


def card(path: Path, rank: int) -> Path:
    """A trace of a card: operators that launch kernels, in steps."""
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "python"}}]

    def add(name: str, cat: str, ts: float, dur: float, **args: Any) -> None:
        where = {"pid": 0, "tid": 7} if cat == "kernel" else {"pid": 1, "tid": 1}
        events.append({"ph": "X", "name": name, "cat": cat, "ts": ts, "dur": dur, "args": args} | where)

    for i in range(40):
        t = 1000.0 * i
        name = "aten::mm" if i % 3 else "aten::äöü '\""
        on = {"device": 0, "stream": 7, "correlation": i + 1}
        add(f"ProfilerStep#{i}", "user_annotation", t, 900)
        add(name, "cpu_op", t + 10, 100, **{"Input Dims": [[2, i], []]})
        add("cudaLaunchKernel", "cuda_runtime", t + 20, 5.125, correlation=i + 1)
        add("gemm", "kernel", t + 50, 300.5 + rank, **on, deep={"a": [1, None]})
        held = {"Total Allocated": i << 40}
        events.append({"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": t, "s": "t", "args": held})
        events.append({"ph": "C", "name": "power", "pid": 0, "ts": t, "args": {"W": i + 0.1}})
    info = {"rank": rank, "world_size": 2, "backend": "nccl"}
    path.write_text(json.dumps({"distributedInfo": info, "traceEvents": events}))
    return path


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """Runs of the native pipeline, of torch, of two cards, and of a version with other columns."""
    if not shutil.which("go") or not shutil.which("cc") or not TORCH:
        pytest.skip("needs Go, a C compiler and the repository")
    parquet = pytest.importorskip("pyarrow.parquet")
    tmp = tmp_path_factory.mktemp("lake")
    builds = [(ROOT, "./cmd/kinetoscope"), (ROOT, "./examples/omni"), (ROOT / "sql", "./kinetoscope-sql")]
    for at, what in builds:
        subprocess.run(["go", "build", "-o", f"{tmp}/bin/", what], cwd=at, check=True)
    b = Bucket(str(tmp / "bin" / "kinetoscope"), tmp / "root" / "bucket")
    subprocess.run([tmp / "bin" / "omni"], cwd=tmp, check=True, capture_output=True)
    (native,) = (tmp / "runs").iterdir()
    b.add("20261130", native)
    b.add(ODD, native)
    b.add("torch", *TORCH)
    cards = [card(tmp / f"card{rank}.json", rank) for rank in range(2)]
    b.add("card", *cards)
    b.add("old", cards[0])
    for path in (b.path / "slices" / "run=old").rglob("*.parquet"):
        t = parquet.read_table(path, partitioning=None)
        columns = {"added": t["dur"], **{n: t[n] for n in reversed(t.column_names) if n != "args"}}
        parquet.write_table(type(t).from_pydict(columns), path)
    return b


def check(b: Bucket, ask: Ask) -> None:
    """Ask the same of an engine and of `kinetoscope sql`."""
    for table in BY_RANK + BY_RUN:
        question = f"select count(*) from {table}"
        assert ask(question) == b.ask(question), table
    for question in [TIME, *JOINS, ONE]:
        want = b.ask(question)
        assert want, question
        same(ask(question), want, question)
    for table in BY_RANK + BY_RUN:  # all rows as they are
        names = [name for (name,) in b.ask(f"select column_name from (describe {table})")]
        columns = ", ".join(name for name in names if name != "added")
        question = f"select {columns} from {table} where run in ('card', 'old', 'torch')"
        same(ask(question), b.ask(question), question)
    odd = ODD.replace("'", "''")
    question = f"select stage, count(*), sum(dur) from slices where run = '{odd}' group by stage"
    same(ask(question), b.ask(question), question)
    question = "select count(*) from slices where stage is null and run = 'torch'"
    assert ask(question) == b.ask(question) != [(0,)]


def more(b: Bucket, run: str) -> str:
    """Add a run, after the tables were declared, and return what asks for it."""
    b.add(run, TORCH[0])
    return f"select count(*) from slices where run = '{run}'"


class Store(Bucket):
    """The bucket as it was when it was copied into an object store that speaks S3, under s3://lake/b."""

    url: str


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    session = pytest.importorskip("chdb.session").Session(str(tmp_path_factory.mktemp("chdb")))
    yield session
    session.close()


def answer(session: Any, question: str) -> Any:
    settings = "settings output_format_json_quote_64bit_integers = 0"
    return json.loads(str(session.query(f"{question} {settings}", "JSONCompact")))


def test_clickhouse(bucket: Bucket, clickhouse: Any) -> None:
    clickhouse.query("create database lake engine = Atomic")
    clickhouse.query("use lake")
    for statement in bucket.declare("clickhouse", str(bucket.path)):
        clickhouse.query(statement)
    check(bucket, lambda question: [tuple(row) for row in answer(clickhouse, question)["data"]])
    read = answer(clickhouse, ONE)["statistics"]["rows_read"]
    assert [(read,)] == bucket.ask("select count(*) from slices where run = 'card' and rank = 1")
    question = more(bucket, "after ClickHouse")
    assert answer(clickhouse, question)["data"] == [list(row) for row in bucket.ask(question)] != [[0]]


@pytest.fixture(scope="module")
def store(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    copy = Store(bucket.program, tmp_path_factory.mktemp("store") / "bucket")
    shutil.copytree(bucket.path, copy.path)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    for name, value in keys.items():
        os.environ.setdefault(name.upper(), value)  # ClickHouse takes them from there
    try:
        copy.url = "http://{}:{}".format(*server.get_host_and_port())
        s3 = boto3.client("s3", endpoint_url=copy.url, region_name="us-east-1", **keys)
        s3.create_bucket(Bucket="lake")
        for path in copy.path.rglob("*.parquet"):
            s3.upload_file(str(path), "lake", f"b/{path.relative_to(copy.path)}")
        yield copy
    finally:
        server.stop()


def test_clickhouse_store(store: Store, clickhouse: Any) -> None:
    clickhouse.query("create database store engine = Atomic")
    clickhouse.query("use store")
    for statement in store.declare("clickhouse", f"{store.url}/lake/b"):
        clickhouse.query(statement)
    for question in [TIME, *JOINS, ONE]:
        same(answer(clickhouse, question)["data"], store.ask(question), question)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql")
    if not shutil.which("java"):
        pytest.skip("Spark needs Java")
    tmp = tmp_path_factory.mktemp("spark")
    metastore = f"jdbc:derby:;databaseName={tmp}/metastore;create=true"
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.extraJavaOptions": f"-Dderby.stream.error.file={tmp}/derby.log",
        "spark.sql.warehouse.dir": str(tmp / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": metastore,
    }
    builder = sql.SparkSession.builder.master("local[1]").enableHiveSupport()
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.mark.parametrize("dialect", ["spark", "athena"])
def test_spark(bucket: Bucket, spark: Any, dialect: str) -> None:
    """Spark reads what is declared in its words, and in those of Hive, which are Athena's."""
    spark.sql(f"create database {dialect}")
    spark.sql(f"use {dialect}")
    for statement in bucket.declare(dialect, f"file://{bucket.path}"):
        spark.sql(statement)
    check(bucket, lambda question: [tuple(row) for row in spark.sql(question).collect()])
    plan = spark.sql(f"explain {ONE}").collect()[0][0]
    assert "run" in plan.split("PartitionFilters: [")[1].split("]")[0], plan
    question = more(bucket, f"after {dialect}")
    spark.sql("msck repair table slices")
    assert [tuple(row) for row in spark.sql(question).collect()] == bucket.ask(question) != [(0,)]


def test_spark_undeclared(bucket: Bucket, spark: Any) -> None:
    """Spark finds the columns and partitions out by itself."""
    for table in BY_RANK + BY_RUN:
        spark.read.parquet(str(bucket.path / table)).createOrReplaceTempView(table)
    same([tuple(row) for row in spark.sql(TIME).collect()], bucket.ask(TIME), TIME)


class Trino:
    """A server of one node, with catalogs of what lies under root and in an object store."""

    def __init__(self, home: Path, tmp: Path, root: Path, store: str) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{s.getsockname()[1]}"
        etc = tmp / "etc"
        (etc / "catalog").mkdir(parents=True)
        (etc / "node.properties").write_text(f"node.environment=lake\nnode.data-dir={tmp}/data\n")
        (etc / "jvm.config").write_text(
            "-Xmx2G\n-XX:+UseSerialGC\n-Djdk.attach.allowAttachSelf=true\n"
            "--sun-misc-unsafe-memory-access=allow\n--enable-native-access=ALL-UNNAMED\n"
        )
        (etc / "config.properties").write_text(
            "coordinator=true\nnode-scheduler.include-coordinator=true\nnode.internal-address=127.0.0.1\n"
            f"http-server.http.port={self.url.rsplit(':', 1)[1]}\ndiscovery.uri={self.url}\n"
        )
        (etc / "catalog" / "lake.properties").write_text(
            "connector.name=hive\nhive.metastore=file\nhive.metastore.catalog.dir=local:///metastore\n"
            f"fs.native-local.enabled=true\nlocal.location={root}\n"
        )
        (etc / "catalog" / "store.properties").write_text(
            "connector.name=hive\nhive.metastore=file\nhive.metastore.catalog.dir=s3://lake/metastore\n"
            f"fs.native-s3.enabled=true\ns3.endpoint={store}\ns3.path-style-access=true\ns3.region=us-east-1\n"
            "s3.aws-access-key=key\ns3.aws-secret-key=secret\n"
        )
        env = dict(os.environ)
        if java := env.get("KINETOSCOPE_TRINO_JAVA"):
            env |= {"JAVA_HOME": java, "PATH": f"{java}/bin:{env['PATH']}"}
        self.log = tmp / "log"
        with self.log.open("wb") as log:
            command = [str(home / "bin" / "launcher"), "run", "--etc-dir", str(etc)]
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        deadline = time.monotonic() + 180
        while not self.started():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"Trino does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.5)

    def started(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/v1/info") as r:
                return not json.load(r)["starting"]
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def ask(self, question: str, catalog: str = "lake") -> Rows:
        headers = {"X-Trino-User": "lake", "X-Trino-Catalog": catalog, "X-Trino-Schema": "k"}
        at: Any = urllib.request.Request(f"{self.url}/v1/statement", question.encode(), headers)
        rows: Rows = []
        while at:
            with urllib.request.urlopen(at) as r:
                answer = json.load(r)
            assert "error" not in answer, (question, answer["error"]["message"])
            rows += map(tuple, answer.get("data", []))
            at = answer.get("nextUri")
        return rows


@pytest.fixture(scope="module")
def trino(bucket: Bucket, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trino]:
    home = os.environ.get("KINETOSCOPE_TRINO")
    if not home:
        pytest.skip("KINETOSCOPE_TRINO names no server of Trino")
    server = Trino(Path(home), tmp_path_factory.mktemp("trino"), bucket.path.parent, store.url)
    yield server
    server.stop()


def test_trino(bucket: Bucket, trino: Trino) -> None:
    trino.ask("create schema k")
    for statement in bucket.declare("trino", "local:///bucket"):
        trino.ask(statement)
    check(bucket, trino.ask)
    plan = trino.ask(f"explain {ONE}")[0][0]
    assert ":: [[card]]" in plan, plan
    question = more(bucket, "after Trino")
    trino.ask("call system.sync_partition_metadata(current_schema, 'slices', 'FULL')")
    assert trino.ask(question) == bucket.ask(question) != [(0,)]


def test_trino_store(store: Store, trino: Trino) -> None:
    trino.ask("create schema k", "store")
    for statement in store.declare("trino", "s3://lake/b"):
        trino.ask(statement, "store")
    for question in [TIME, *JOINS, ONE]:
        same(trino.ask(question, "store"), store.ask(question), question)
    trino.ask("call system.sync_partition_metadata(current_schema, 'slices', 'FULL')", "store")


SUMS = "select run, stage, rank, count(*), sum(dur) from slices group by run, stage, rank"


def test_duckdb(bucket: Bucket) -> None:
    files = f"{bucket.path}/slices/**/*.parquet"
    duckdb = pytest.importorskip("duckdb").connect()
    duckdb.execute(f"create view slices as from read_parquet('{files}', union_by_name = true)")
    same(duckdb.sql(SUMS).fetchall(), bucket.ask(SUMS), "DuckDB")
    plan = duckdb.sql(f"explain analyze {ONE}").fetchall()[0][1]
    assert "Total Files Read: 1" in plan, plan


def test_pyarrow(bucket: Bucket) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    d = dataset.dataset(bucket.path / "slices", partitioning="hive")
    t = d.to_table(columns=["run", "stage", "rank", "dur"])
    got = t.group_by(["run", "stage", "rank"]).aggregate([([], "count_all"), ("dur", "sum")])
    rows = got.select(["run", "stage", "rank", "count_all", "dur_sum"]).to_pylist()
    same([tuple(row.values()) for row in rows], bucket.ask(SUMS), "pyarrow")
    one = (dataset.field("run") == "card") & (dataset.field("rank") == 1)
    assert len(list(d.get_fragments(one))) == 1


def test_polars(bucket: Bucket) -> None:
    polars = pytest.importorskip("polars")
    files = f"{bucket.path}/slices/**/*.parquet"
    keys = ["run", "stage", "rank"]
    options = {"hive_partitioning": True, "missing_columns": "insert", "extra_columns": "ignore"}
    d = polars.scan_parquet(files, **options)
    got = d.group_by(keys).agg(polars.len(), polars.col("dur").sum()).collect()
    same(got.rows(), bucket.ask(SUMS), "polars")
