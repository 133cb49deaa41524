"""Makes a database with rows of every kind: python3 make.py OUT.sqlite OUT.json SEED ROWS PAGE.

The JSON has for each table its columns and rows, as SQLite itself reads them; blobs are
written as lists of bytes."""
import json
import random
import sqlite3
import sys

out, dump, seed, rows, page = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
rnd = random.Random(seed)
db = sqlite3.connect(out)
db.execute(f"PRAGMA page_size = {page}")
db.executescript(
    """
CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE "odd ""names" ([a b] INTEGER, `c,d` TEXT DEFAULT 'x,)', e REAL /* not, here */, f BLOB, -- nor ) here
  g NUMERIC(10, 2), CHECK (e <> 3), CONSTRAINT u UNIQUE ([a b], e));
CREATE TABLE keyed (other TEXT, n INTEGER, PRIMARY KEY (n));
CREATE TABLE not_the_rowid (n INT PRIMARY KEY, m INTEGER);
CREATE TABLE descending (n INTEGER PRIMARY KEY DESC, m TEXT);
CREATE TABLE empty (a, b);
CREATE TABLE apart (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;
CREATE TABLE grown (a INTEGER);
CREATE VIEW seen AS SELECT * FROM keyed;
CREATE INDEX i ON keyed (other);
"""
)


def number():
    bits = rnd.choice([0, 1, 7, 8, 15, 16, 23, 24, 31, 32, 47, 48, 62, 63])
    return rnd.choice([1, -1]) * rnd.getrandbits(bits)


def text():
    return "".join(rnd.choice("abcé€😀 '\"") for _ in range(rnd.choice([0, 1, 5, 50, 400, 3000])))


for i in range(rows):
    db.execute("INSERT INTO StringIds VALUES (?, ?)", (i * 3 + 1, text()))
    db.execute(
        'INSERT OR IGNORE INTO "odd ""names" VALUES (?, ?, ?, ?, ?)',
        (number(), rnd.choice([None, text()]), rnd.choice([rnd.random(), 7.0, None]), rnd.randbytes(rnd.choice([0, 3, 700])), rnd.choice([0, 1, "x"])),
    )
    db.execute("INSERT INTO keyed VALUES (?, ?)", (text(), rnd.getrandbits(40) + i * 2**42 if i else -5))
    db.execute("INSERT OR IGNORE INTO not_the_rowid VALUES (?, ?)", (number(), i))
    db.execute("INSERT INTO descending VALUES (?, ?)", (i, text()))
    db.execute("INSERT INTO grown VALUES (?)", (i,))
db.execute("ALTER TABLE grown ADD COLUMN b TEXT")
db.execute("INSERT INTO grown VALUES (-1, 'new')")
db.execute("DELETE FROM StringIds WHERE id % 7 = 0")  # leaves free pages and gaps
db.commit()
tables = {}
for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'apart'").fetchall():
    quoted = '"' + name.replace('"', '""') + '"'
    cursor = db.execute(f"SELECT * FROM {quoted} ORDER BY rowid")
    tables[name] = {
        "columns": [c[0] for c in cursor.description],
        "rows": [[list(v) if isinstance(v, bytes) else v for v in row] for row in cursor],
    }
db.close()
with open(dump, "w") as f:
    json.dump(tables, f)
