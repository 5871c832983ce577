//! Plans that have failed once, made small, and what was wrong then.

use crate::plan::Plan;
use crate::pool::Pool;

pub struct Kept {
    pub seed: u64,
    /// How many partitions it is played on; none is one partition of a few gateways.
    pub on: Option<usize>,
    pub steps: &'static [usize],
    pub faults: &'static [usize],
    pub was: &'static str,
}

impl Kept {
    pub fn plan(&self, pool: &Pool) -> Plan {
        let plan = match self.on {
            None => Plan::narrow(self.seed, pool),
            Some(partitions) => Plan::new(self.seed, pool).on(partitions),
        };
        plan.only(self.steps, self.faults)
    }
}

pub const KEPT: &[Kept] = &[
    Kept {
        seed: 179,
        on: None,
        steps: &[0, 1, 2, 3, 4, 10, 13, 14, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 40, 43, 70, 71, 72, 73, 74],
        faults: &[0, 2],
        was: "a gateway was answered with what it had yet to be told",
    },
    Kept {
        seed: 56,
        on: None,
        steps: &[0, 1, 33, 41],
        faults: &[],
        was: "a gateway had shown what it did not know to be told",
    },
    Kept {
        seed: 74,
        on: None,
        steps: &[0, 1, 2, 3, 6, 7, 9, 11, 12, 13, 14, 20],
        faults: &[],
        was: "a gateway that woke while others were told what they had missed was taken back",
    },
    Kept {
        seed: 154,
        on: None,
        steps: &[0, 1, 4, 10, 23],
        faults: &[0, 1],
        was: "a partition took the log again that had lost it before it knew that it had it",
    },
    Kept {
        seed: 1206,
        on: None,
        steps: &[0, 1, 2, 3, 7, 8, 9, 28, 30, 33, 36, 38, 45, 46, 60],
        faults: &[4, 5, 6, 11, 15],
        was: "a gateway that had not said how far it was told was told what others had missed",
    },
    Kept {
        seed: 56,
        on: None,
        steps: &[0, 1, 2, 14, 35, 41, 61, 67, 68, 69],
        faults: &[],
        was: "an event that woke the partition was lost",
    },
    Kept {
        seed: 2,
        on: None,
        steps: &[],
        faults: &[],
        was: "a partition that woke passed nothing on to gateways it had yet to hear",
    },
    Kept {
        seed: 2058,
        on: None,
        steps: &[0, 1, 2, 6, 34, 39],
        faults: &[2, 3, 5, 12, 13],
        was: "what an old life stored between an answer and the position was told to nobody",
    },
    Kept {
        seed: 8010,
        on: Some(1),
        steps: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 22, 23, 24, 25, 26, 89],
        faults: &[0, 1, 2, 6, 13],
        was: "a gateway had its answer before it was told from which number on it is told of all, as others were told what they had missed",
    },
    Kept {
        seed: 8241,
        on: Some(1),
        steps: &[
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
            29, 31, 32, 33, 34, 35, 39, 40, 41, 43, 44, 45, 46, 47, 52, 54, 59, 63,
        ],
        faults: &[0, 3, 4, 6, 7, 8, 9, 10],
        was: "a gateway that was told of more was taken back before what was asked because of that had been answered",
    },
];
