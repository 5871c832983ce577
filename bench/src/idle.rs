//! Connections with a subscription that nothing matches, as most of a relay's are.

use std::io::Read;

use crate::Error;
use crate::client::{Client, Target, many};
use crate::jobs::Author;

/// Connections that wait for results of a job nobody has asked for.
pub async fn subscribers(target: &Target, count: usize) -> Result<Vec<Client>, Error> {
    many(count, async |n| {
        let author = Author::new(&format!("idle {n}"));
        let mut client = Client::join(target, &author).await?;
        client.ask("idle", &format!(r##"{{"kinds":[6050,7000],"#p":["{}"]}}"##, author.key())).await?;
        Ok(client)
    })
    .await
}

/// Holds them until the end of the input.
pub async fn run(target: &Target, count: usize) -> Result<(), Error> {
    let _clients = subscribers(target, count).await?;
    println!("connected");
    // Nothing else is to be done meanwhile.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
