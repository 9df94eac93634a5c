//! Digests an order of a web shop: what its items cost in all, in how many lines.

use std::time::Duration;

use kiln_handler::{Failure, Job, OrFail, handler, log, progress};
use serde::{Deserialize, Serialize};

handler!(digest);

fn digest(job: Job<Order>) -> Result<Digest, Failure> {
    let Order { customer, items } = job.payload;
    if items.is_empty() {
        // The same order is no better the next time.
        return Err(Failure::permanent("an order has at least one item"));
    }
    log::info!("totalling {} items for {customer}", items.len());
    let mut total_cents = 0_i64;
    for (done, item) in (1..).zip(&items) {
        let total = total_cents.checked_add(item.cost_cents()?);
        total_cents = total.or_permanent("the total is out of range")?;
        progress((done * 100 / items.len()) as u8, &item.name);
    }
    Ok(Digest {
        customer,
        total_cents,
        lines: items.len(),
    })
}

// An HTTP request, once {{name}}.toml grants its origin. No answer, 429 and 5xx have the job tried again; 4xx does not.
//
// fn fetch_stock(item: &str) -> Result<u32, Failure> {
//     let url = format!("https://api.example.com/stock/{item}");
//     let answer = kiln_handler::http::get(url).timeout(Duration::from_secs(5)).send()?;
//     Ok(answer.check_status()?.json()?)
// }

#[derive(Deserialize)]
struct Order {
    customer: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    price_cents: i64,
    quantity: i64,
    stock: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Digest {
    customer: String,
    total_cents: i64,
    lines: usize,
}

impl Item {
    fn cost_cents(&self) -> Result<i64, Failure> {
        let name = &self.name;
        if self.stock.as_deref() == Some("unknown") {
            let why = format!("the stock of {name} is not known yet");
            return Err(Failure::retry_after(why, Duration::from_secs(30)));
        }
        if self.quantity <= 0 {
            let why = format!("the quantity of {name} is not positive");
            return Err(Failure::permanent(why));
        }
        if self.price_cents < 0 {
            let why = format!("the price of {name} is negative");
            return Err(Failure::permanent(why));
        }
        let cost = self.price_cents.checked_mul(self.quantity);
        cost.or_permanent(format_args!("the cost of {name} is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, price_cents: i64, quantity: i64) -> Item {
        Item {
            name: name.to_owned(),
            price_cents,
            quantity,
            stock: None,
        }
    }

    fn digest_of(items: Vec<Item>) -> Result<Digest, Failure> {
        let customer = "Ada".to_owned();
        digest(Job::of("{{name}}", Order { customer, items }))
    }

    #[test]
    fn adds_up_what_the_items_cost() {
        let digest = digest_of(vec![item("tea", 450, 2), item("cup", 800, 1)]).unwrap();
        assert_eq!((digest.total_cents, digest.lines), (1700, 2));
    }

    #[test]
    fn waits_for_the_stock() {
        let mut tea = item("tea", 450, 2);
        tea.stock = Some("unknown".to_owned());
        let why = "the stock of tea is not known yet";
        let wait = Duration::from_secs(30);
        assert_eq!(digest_of(vec![tea]), Err(Failure::retry_after(why, wait)));
    }

    #[test]
    fn refuses_what_cannot_be_ordered() {
        let refused = |items| matches!(digest_of(items), Err(Failure::Permanent(_)));
        assert!(refused(vec![]));
        assert!(refused(vec![item("tea", 450, 0)]));
        assert!(refused(vec![item("tea", -1, 1)]));
        assert!(refused(vec![item("tea", i64::MAX, 2)]));
    }
}
