"""Searches an Adastream query node from Python: one query in JSON, many as an Arrow stream.

    pip install pyarrow requests
    python docs/search.py http://127.0.0.1:8080 guitar

The second argument is the id of any row: its vector stands in for those that an encoder would make.
"""

import json
import sys
import time

import pyarrow as pa
import requests


def ask(session, method, url, **request):
    """The answer, asked for again while the node is overloaded or not ready."""
    for attempt in range(4):
        answer = session.request(method, url, timeout=10, **request)
        if answer.status_code not in (429, 503) or attempt == 3:
            break
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    if answer.status_code != 200:
        problem = answer.json()  # RFC 9457
        raise RuntimeError(f"{problem['code']}: {problem['detail']}, allowed: {problem.get('allowed')}")
    return answer


def search_batch(session, node, vectors, **options):
    """Hits of many queries as a table of query, id, score and the attributes asked for, and the generation they are of.

    vectors is a list of lists of floats, or a 2-d numpy array of float16 or float32.
    """
    column = pa.FixedSizeListArray.from_arrays(pa.array([x for v in vectors for x in v], pa.float32()), len(vectors[0]))
    batch = pa.record_batch([column], names=["vector"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    answer = ask(session, "POST", node + "/v1/search", params=options, data=sink.getvalue().to_pybytes(),
                 headers={"Content-Type": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(answer.content).read_all()
    return table, json.loads(table.schema.metadata[b"adastream.snapshot"])


def main(node, like):
    session = requests.Session()
    # session.headers["Authorization"] = "Bearer " + token
    index = ask(session, "GET", node + "/v1/index").json()
    print(f"{index['name']}: {index['dims']} numbers of {index['spec']['encoder']}")

    answer = ask(session, "POST", node + "/v1/search", json={"like": like, "k": 3, "target_recall": 0.9}).json()
    print(f"generation {answer['snapshot']['generation']}, {answer['usage']['microseconds']} us")
    ids = [hit["id"] for hit in answer["hits"]]
    for hit in answer["hits"]:
        print(f"  {hit['score']:.3f} {hit['id']} {hit.get('attributes', '')}")

    rows = ask(session, "POST", node + "/v1/vectors:batchGet", json={"ids": ids, "include_vector": True, "fields": []}).json()
    table, snapshot = search_batch(session, node, [row["vector"] for row in rows["vectors"]], k=3)
    for hit in table.to_pylist():
        print(f"query {hit['query']}: {hit['score']:.3f} {hit['id']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
