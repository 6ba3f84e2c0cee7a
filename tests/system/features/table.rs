//! The table.

/// A feature, and what one types to see it, line by line into one shell. `localhost:8000` is a system that runs, unless the
/// lines start one, and `ID` the object that was printed last.
pub struct Feature {
    pub what: &'static str,
    pub lines: &'static [&'static str],
    pub seen: Seen,
    /// There are processes in it that meet on a broker.
    pub needs_broker: bool,
}

/// How it is seen.
pub enum Seen {
    /// Every line ends well, and all of this is printed.
    Says(&'static [&'static str]),
    /// The same in the end, if the last line is typed again and again: it changes nothing.
    Becomes(&'static [&'static str]),
    /// It takes containers, a cluster, or a broker of one's own: this test does the same, or this target of make.
    By(&'static str),
}
use Seen::{Becomes, By, Says};

/// What a system before it could do.
pub struct Part {
    pub name: &'static str,
    pub features: &'static [Feature],
}

pub const PARTS: [Part; 4] = [SERVICES, WORD_COUNTER, PATTERNS, LIKES];

const fn feature(what: &'static str, lines: &'static [&'static str], seen: Seen) -> Feature {
    Feature { what, lines, seen, needs_broker: false }
}

const fn over_rabbitmq(what: &'static str, lines: &'static [&'static str], seen: Seen) -> Feature {
    Feature { what, lines, seen, needs_broker: true }
}

pub const SERVICES: Part = Part {
    name: "Services that talk by events",
    features: &[
        feature("health", &["curl localhost:8000/health"], Says(&["\"Ready\""])),
        feature(
            "the API's document",
            &["curl localhost:8000/openapi.json"],
            Says(&["\"openapi\":\"3.1", "/api/objects"]),
        ),
        feature("a page to try it", &["curl localhost:8000/docs"], Says(&["swagger"])),
        feature(
            "an object without a body is generated",
            &[
                "curl -X POST localhost:8000/objects",
                "curl -X POST localhost:8000/api/objects/",
                "curl -X POST localhost:8000/api/objects",
            ],
            Says(&["\"id\":\"", "\"status\":\"created\"", "\"tasks\":3"]),
        ),
        feature(
            "objects are kept, and can be read",
            &["curl localhost:8000/api/objects/ID", "curl \"localhost:8000/api/objects/ID?wait=30\""],
            Says(&["\"status\":\"succeeded\"", "\"processor\":\"processor-", "\"result\":{"]),
        ),
        feature(
            "three tasks an object, or another number",
            &["curl -H 'content-type: application/json' -d '{\"tasks\":5}' localhost:8000/api/objects"],
            Says(&["\"tasks\":5"]),
        ),
        feature(
            "the same for all objects",
            &["DISTRIBUTION_COUNT=5 cargo run --release &", "curl -X POST localhost:8000/api/objects"],
            Says(&["\"tasks\":5"]),
        ),
        feature(
            "figures in SQLite, at any moment",
            &["watch -n .5 'sqlite3 stats.db \"select * from statistics\"' &"],
            Says(&["objects succeeded|4", "tasks processed|14"]),
        ),
        feature(
            "counts, mean and percentiles of times",
            &["ebs statistics"],
            Says(&["objects            4            0            4", "P50", "P99", "processor-0"]),
        ),
        feature("as they change", &["ebs statistics --watch &"], Says(&["objects: 4 created, 4 finished"])),
        feature("for programs", &["curl localhost:8000/api/statistics"], Says(&["\"succeeded\":4", "\"mean\":"])),
        feature(
            "logs say who did what, and the figures whenever they change",
            &["cargo run --release &", "curl -X POST localhost:8000/api/objects"],
            Says(&["processed part 3 of 3", "objects: 1 created, 1 finished"]),
        ),
        feature(
            "tasks that take their time, for demonstrations",
            &[
                "PROCESS_TIME=3s..5s cargo run --release &",
                "ebs submit --wait",
                "sqlite3 stats.db \"select outcome, duration >= 3000000 from tasks\"",
            ],
            Says(&["succeeded|1"]),
        ),
        over_rabbitmq(
            "by hand: four terminals and a broker",
            &[
                "QUEUE_URL=localhost:5672 cargo run -p datagen &",
                "QUEUE_URL=localhost:5672 cargo run -p distributor &",
                "QUEUE_URL=localhost:5672 cargo run -p processor &",
                "QUEUE_URL=localhost:5672 cargo run -p statistics &",
                "curl -X POST localhost:8000/api/objects",
                "curl \"localhost:8000/api/objects/ID?wait=30\"",
            ],
            Says(&["\"status\":\"succeeded\""]),
        ),
        over_rabbitmq(
            "tasks wait until there is a processor",
            &[
                "export QUEUE_URL=localhost:5672",
                "cargo run -p datagen & cargo run -p distributor & cargo run -p statistics &",
                "curl -X POST localhost:8000/api/objects",
                "curl \"localhost:8000/api/objects/ID?wait=1\"",
                "cargo run -p processor &",
                "curl \"localhost:8000/api/objects/ID?wait=30\"",
            ],
            Says(&["\"status\":\"succeeded\""]),
        ),
        feature(
            "what was being done when everything died is done when it is back",
            &[
                "PROCESS_TIME=50s cargo run --release & system=$!",
                "curl -X POST localhost:8000/api/objects",
                "curl localhost:8000/api/objects/ID | grep running",
                "kill -9 $system",
                "cargo run --release &",
                "curl \"localhost:8000/api/objects/ID?wait=30\"",
            ],
            Says(&["\"status\":\"succeeded\""]),
        ),
        over_rabbitmq(
            "any order of start; a broker that comes back is used again",
            &[
                "export QUEUE_URL=localhost:5672",
                "cargo run -p datagen & cargo run -p distributor & cargo run -p processor & cargo run -p statistics &",
                "scripts/broker run /tmp/broker 5672 &",
                "curl -X POST localhost:8000/api/objects",
                "scripts/broker kill /tmp/broker",
                "scripts/broker run /tmp/broker 5672 &",
                "curl -X POST localhost:8000/api/objects",
            ],
            By(
                "tests/system/order_of_start.rs::services_wait_for_the_broker_and_resume_by_themselves_when_it_was_killed_under_load",
            ),
        ),
        over_rabbitmq(
            "a topic exchange that any AMQP client can read",
            &["python examples/python/read_events.py 'object.finished.#' &", "ebs submit --wait"],
            Becomes(&["object.finished.word-frequencies"]),
        ),
        over_rabbitmq(
            "its queues and bindings",
            &["rabbitmqctl list_bindings source_name destination_name routing_key"],
            By("tests/system/foreign.rs::the_broker_has_the_queues_and_bindings_that_the_document_says"),
        ),
        feature(
            "containers; one queue of work, any number of processors",
            &["docker-compose up -d", "docker-compose up -d --scale processor=3"],
            By("make check-containers"),
        ),
        feature(
            "Kubernetes, published images",
            &["kustomize build kustomize/hubbed | kubectl apply -f -"],
            By("make validate-kubernetes"),
        ),
        feature(
            "minikube, local images",
            &["kustomize build kustomize/minikube | kubectl apply -f -"],
            By("make validate-kubernetes"),
        ),
        feature(
            "a cluster's ports",
            &["kubectl port-forward deployment/datagen 8000:80", "kubectl port-forward deployment/rabbit 15672"],
            By("make validate-kubernetes"),
        ),
        feature(
            "a cluster's logs",
            &["kubectl logs -f deployment/statistics", "kubectl logs deployment/processor"],
            By("make validate-kubernetes"),
        ),
    ],
};

pub const WORD_COUNTER: Part = Part {
    name: "A word counter",
    features: &[
        feature("reset", &["curl -X DELETE localhost:8000/delete-frequencies"], Says(&["Deleted"])),
        feature(
            "a text in by a form, the most frequent words of all texts out",
            &["curl -d \"text=a b c d\" localhost:8000/add-frequencies"],
            Says(&["{\"name\":\"a\",\"count\":1}"]),
        ),
        feature(
            "again: the counts double",
            &["curl -d \"text=a b c d\" localhost:8000/add-frequencies"],
            Says(&["{\"name\":\"a\",\"count\":2}", "{\"name\":\"d\",\"count\":2}"]),
        ),
        feature(
            "case and punctuation make no other word",
            &["curl -d 'text=A, a! “a”' localhost:8000/add-frequencies"],
            Says(&["{\"name\":\"a\",\"count\":5}"]),
        ),
        feature(
            "words are those of Unicode",
            &["curl -d \"text=don't naïve – don't naïve\" localhost:8000/add-frequencies"],
            Says(&["{\"name\":\"don't\",\"count\":2}", "{\"name\":\"naïve\",\"count\":2}"]),
        ),
        feature(
            "a text is split among the processors",
            &["curl \"localhost:8000/api/objects/ID?wait=30\""],
            Says(&["\"part\":0", "\"part\":1", "\"part\":2"]),
        ),
        feature("totals on the command line", &["ebs totals"], Says(&["don't"])),
        feature("reset on the command line", &["ebs totals --reset"], Says(&["Deleted"])),
        feature("after it, counting begins anew", &["ebs submit --data '\"b b\"' --wait"], Says(&["{\"b\":2}"])),
        feature(
            "the report is in the log, too",
            &["cargo run --release &", "curl -d \"text=a b c d\" localhost:8000/add-frequencies"],
            Says(&["the most frequent words: a 1, b 1, c 1, d 1"]),
        ),
        over_rabbitmq(
            "a text that waits for a processor is answered when one joins",
            &[
                "export QUEUE_URL=localhost:5672",
                "cargo run -p datagen & cargo run -p distributor & cargo run -p statistics &",
                "curl localhost:8000/readyz",
                "curl -d \"text=a b c d\" localhost:8000/add-frequencies &",
                "cargo run -p processor &",
            ],
            Says(&["{\"name\":\"a\",\"count\":1}"]),
        ),
        feature(
            "no count is lost or doubled, whoever is killed while eight clients count",
            &[
                "cargo run --release & system=$!",
                "seq 160 | xargs -P 8 -I N curl --retry 30 --retry-all-errors --retry-delay 1 -H 'Idempotency-Key: N' -d 'text=a b c d' localhost:8000/add-frequencies & clients=$!",
                "ebs totals | grep a",
                "kill -9 $system",
                "cargo run --release &",
                "wait $clients",
                "curl localhost:8000/api/totals/word-frequencies",
            ],
            Becomes(&["{\"name\":\"a\",\"count\":160}", "{\"name\":\"d\",\"count\":160}"]),
        ),
        feature(
            "load, and an honest report of it",
            &["ebs spam --count 20 --rate 50 --concurrency 4 --size 200"],
            Says(&["20", "p99"]),
        ),
        feature("load of files", &["ebs spam README.md ARCHITECTURE.md"], Says(&["2", "p99"])),
        feature("load without meaning", &["ebs spam --random-strings --count 10"], Says(&["10", "p99"])),
        feature("help lists all commands", &["ebs --help"], Says(&["submit", "spam", "doctor", "dead-letters"])),
    ],
};

pub const PATTERNS: Part = Part {
    name: "Patterns of messaging",
    features: &[
        feature(
            "a queue of work: what was produced is confirmed, and done by a consumer that starts later",
            &[
                "cargo run --example work_queue -- produce my message",
                "cargo run --example work_queue -- produce",
                "cargo run --example work_queue -- consume &",
            ],
            Says(&["produced: my message", "done: my message", "done: Hello, work!"]),
        ),
        feature(
            "without a broker",
            &["QUEUE_URL=embedded: cargo run --example work_queue -- both my message &"],
            Says(&["done: my message"]),
        ),
        over_rabbitmq(
            "a chat: everybody hears everything, who comes and who leaves",
            &[
                "sleep 60 | cargo run --example chat >heard.txt &",
                "grep joined heard.txt",
                "cargo run --example chat <<<hello",
                "grep ': hello' heard.txt",
                "grep left heard.txt",
            ],
            Says(&["You are ", ": hello"]),
        ),
        feature(
            "without a broker",
            &["QUEUE_URL=embedded: cargo run --example chat <<<hello"],
            Says(&["] ", ": hello", "left"]),
        ),
        feature(
            "operations",
            &["curl localhost:8000/api/operations"],
            Says(&["nop", "plusone", "pow", "word-frequencies"]),
        ),
        feature(
            "submitting returns at once",
            &["ebs submit --operation pow --parameters '{\"exponent\":3}' --data '[0,1,2,3,4]'"],
            Says(&["-"]),
        ),
        feature("its result, when there is one", &["ebs result"], Says(&["[0,1,8,27,64]"])),
        feature(
            "partial results in order, each with who made it",
            &["curl localhost:8000/api/objects/ID"],
            Says(&["\"processor\":\"processor-", "\"result\":[0,1,8,27,64]"]),
        ),
        feature(
            "more parts than elements",
            &["ebs submit --operation plusone --data '[1,2]' --tasks 5 --wait"],
            Says(&["[2,3]"]),
        ),
        feature("no elements", &["ebs submit --operation plusone --data '[]' --wait"], Says(&["[]"])),
        feature(
            "elements that do not divide evenly",
            &["ebs submit --operation plusone --data '[1,2,3,4,5,6,7]' --tasks 3 --wait"],
            Says(&["[2,3,4,5,6,7,8]"]),
        ),
        feature(
            "an unknown operation is refused, with the known ones",
            &["ebs submit --operation guess --data '[1]' || [[ $? == 1 ]]"],
            Says(&["guess", "plusone", "word-frequencies"]),
        ),
        feature("an operation of one's own, in Rust", &["cargo test --doc -p operations"], By("make test")),
        feature(
            "any program as an operation",
            &[
                "OPERATIONS_FILE=examples/operations/operations.toml cargo run --release &",
                "ebs submit --operation digest --parameters '{\"algorithm\":\"sha256\"}' --data '[\"a\"]' --wait",
            ],
            Says(&["ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"]),
        ),
        over_rabbitmq(
            "a processor in another language",
            &[
                "export QUEUE_URL=amqp://guest:guest@localhost:5672/%2f",
                "OPERATIONS_FILE=examples/operations/operations.toml cargo run --release &",
                "curl localhost:8000/readyz",
                "python examples/python/processor.py reverse &",
                "ebs submit --operation reverse --data '[\"ab\",\"cd\"]' --wait",
            ],
            Says(&["[\"ba\",\"dc\"]"]),
        ),
        feature(
            "a client that gathers by itself, several jobs at once",
            &[
                "cargo run --example scatter_gather <<<$'call pow [1,2,3] {\"exponent\":2}\\ncall plusone [1,2,3]\\nresult 2\\nresult 1'",
            ],
            Says(&["part 0 of 3 by processor-", "job 2: [2,3,4]", "job 1: [1,4,9]"]),
        ),
        feature(
            "without a broker",
            &["QUEUE_URL=embedded: cargo run --example scatter_gather <<<$'call plusone [1,2]\\nresult'"],
            Says(&["job 1: [2,3]"]),
        ),
        over_rabbitmq(
            "what is called before anybody is there to do it",
            &[
                "export QUEUE_URL=localhost:5672",
                "cargo run --example scatter_gather <<<$'call plusone [1,2]\\nresult' >answers.txt &",
                "grep 'job 1 is' answers.txt",
                "cargo run -p distributor & cargo run -p processor &",
                "grep 'job 1:' answers.txt",
            ],
            Says(&["job 1: [2,3]"]),
        ),
        over_rabbitmq(
            "a processor that dies does not hang who waits: another one does its work",
            &[
                "export QUEUE_URL=localhost:5672",
                "cargo run -p datagen & cargo run -p distributor & cargo run -p statistics &",
                "PROCESS_TIME=50s cargo run -p processor & processor=$!",
                "curl localhost:8000/readyz",
                "ebs submit --operation plusone --data '[1,2]' --wait & caller=$!",
                "ebs objects --status running | grep plusone",
                "kill -9 $processor",
                "cargo run -p processor &",
                "wait $caller",
            ],
            Says(&["[2,3]"]),
        ),
    ],
};

pub const LIKES: Part = Part {
    name: "Replicated likes",
    features: &[
        over_rabbitmq(
            "equal nodes find each other",
            &[
                "cargo run --example likes -- node --port 6001 &",
                "cargo run --example likes -- node --port 6002 &",
                "cargo run --example likes -- node --port 6003 &",
                "curl localhost:6003/api/nodes",
            ],
            Becomes(&["\"address\":\"127.0.0.1:6001\",\"clients\":0", "\"address\":\"127.0.0.1:6002\",\"clients\":0"]),
        ),
        feature(
            "several nodes in one process; a like on one is seen on all",
            &[
                "QUEUE_URL=embedded: cargo run --example likes -- node --port 6001 --port 6002 --port 6003 &",
                "curl -X POST localhost:6001/api/likes",
                "curl localhost:6002/api/likes",
            ],
            Becomes(&["\"likes\":1,"]),
        ),
        over_rabbitmq(
            "many at once, none lost or doubled",
            &[
                "cargo run --example likes -- node --port 6001 &",
                "cargo run --example likes -- node --port 6002 &",
                "curl localhost:6001/api/likes",
                "curl localhost:6002/api/likes",
                "curl -Z -X POST \"localhost:6001/api/likes?[1-60]\" \"localhost:6002/api/likes?[1-60]\"",
                "curl localhost:6002/api/likes",
            ],
            Becomes(&["\"likes\":120,"]),
        ),
        feature(
            "a client, which likes once",
            &[
                "QUEUE_URL=embedded: cargo run --example likes -- node --port 6001 &",
                "cargo run --example likes -- client localhost:6001 <<<like",
            ],
            Says(&["at 127.0.0.1:6001, which had 0 clients", "liked at 127.0.0.1:6001: 200 OK"]),
        ),
        over_rabbitmq(
            "or many times; it is given the least busy node, and another one when that dies",
            &[
                "cargo run --example likes -- node --port 6001 & node=$!",
                "curl localhost:6001/api/nodes",
                "cargo run --example likes -- node --port 6002 &",
                "curl localhost:6001/api/nodes | grep 127.0.0.1:6002",
                "cargo run --example likes -- client localhost:6001 localhost:6002 <<<'like many' & client=$!",
                "curl localhost:6002/api/nodes | grep '\"clients\":1'",
                "kill -9 $node",
                "wait $client",
            ],
            Says(&["at 127.0.0.1:6001, which had 0 clients", "liked at 127.0.0.1:6002"]),
        ),
        over_rabbitmq(
            "a leader, and another one when it dies; the dead disappear; who comes late, or back, catches up",
            &[
                "cargo run --example likes -- node --port 6001 & leader=$!",
                "curl -X POST localhost:6001/api/likes",
                "cargo run --example likes -- node --port 6002 &",
                "curl localhost:6002/api/nodes | grep '\"likes\":1,\"leader\":\"127.0.0.1:6001\"'",
                "kill -9 $leader",
                "curl localhost:6002/api/nodes | grep -v 127.0.0.1:6001",
                "cargo run --example likes -- node --port 6001 &",
                "curl localhost:6001/api/nodes",
            ],
            Becomes(&["\"likes\":1,\"leader\":\"127.0.0.1:6002\""]),
        ),
        feature(
            "bad commands are told",
            &["cargo run --example likes -- dislike || [[ $? == 64 ]]"],
            Says(&["likes node --port", "likes client"]),
        ),
        feature(
            "and ports in use",
            &[
                "QUEUE_URL=embedded: cargo run --example likes -- node --port 6001 &",
                "curl localhost:6001/api/likes",
                "QUEUE_URL=embedded: cargo run --example likes -- node --port 6001 || [[ $? == 1 ]]",
            ],
            Says(&["port 6001 cannot be used"]),
        ),
    ],
};
