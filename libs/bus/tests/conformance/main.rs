//! What a transport promises, case by case, on both of them. README.md beside this lists the cases.
#![allow(clippy::unwrap_used)]

mod acknowledging;
mod batches;
mod cases;
mod certificates;
mod crash_loops;
mod delivering;
mod embedded_only;
#[path = "../kit/events.rs"]
mod events;
mod examining;
mod faults;
mod kit;
mod loops;
mod measuring;
mod own_types;
mod publishing;
mod rabbitmq_only;
mod retrying;
mod routing;
mod seed;
mod stress;
mod subject;
mod tls;
mod work;

/// The cases over RabbitMQ.
mod rabbitmq {
    crate::cases::shared!(as_tests, crate::subject::RabbitMq);
    crate::cases::loops!(as_tests, crate::subject::RabbitMq);
    crate::cases::alone!(as_tests, crate::subject::RabbitMq);
    crate::cases::foreign!(as_tests, crate::subject::RabbitMq);
    crate::cases::network!(as_tests, crate::subject::RabbitMq);

    /// Not those that need a broker of their own, of which they would start a hundred, and not the loops, which are the
    /// same code as in one process, where they are repeated in a tenth of the time.
    #[test]
    fn case_37_stress_what_shares_a_broker_ten_times_in_a_random_order() {
        let shared = crate::cases::shared!(as_list, crate::subject::RabbitMq);
        let foreign = crate::cases::foreign!(as_list, crate::subject::RabbitMq);
        crate::stress::run(&[shared.as_slice(), &foreign].concat(), AT_ONCE);
    }

    /// Most of a case is waiting until its queues may be used.
    const AT_ONCE: usize = 20;
}

/// The cases inside one process.
mod embedded {
    crate::cases::shared!(as_tests, crate::subject::Embedded);
    crate::cases::loops!(as_tests, crate::subject::Embedded);
    crate::cases::alone!(as_tests, crate::subject::Embedded);

    #[test]
    fn case_37_stress_all_cases_ten_times_in_a_random_order() {
        let shared = crate::cases::shared!(as_list, crate::subject::Embedded);
        let loops = crate::cases::loops!(as_list, crate::subject::Embedded);
        let alone = crate::cases::alone!(as_list, crate::subject::Embedded);
        crate::stress::run(&[shared.as_slice(), &loops, &alone].concat(), AT_ONCE);
    }

    /// What a case waits for is the disk, mostly.
    const AT_ONCE: usize = 8;
}

#[test]
fn every_case_is_in_the_readme() {
    let cases = [
        cases::shared!(as_list, subject::RabbitMq).as_slice(),
        &cases::loops!(as_list, subject::RabbitMq),
        &cases::alone!(as_list, subject::RabbitMq),
        &cases::foreign!(as_list, subject::RabbitMq),
        &cases::network!(as_list, subject::RabbitMq),
    ]
    .concat();
    let readme = include_str!("README.md");
    for (name, _) in cases {
        let row = match name.strip_prefix("case_").and_then(|rest| rest.split_once('_')) {
            Some((number, sentence)) => {
                format!("| {} | {} |", number.trim_start_matches('0'), sentence.replace('_', " "))
            }
            None => format!("| | {} |", name.replace('_', " ")),
        };
        assert!(readme.contains(&row), "missing: {row}");
    }
}
