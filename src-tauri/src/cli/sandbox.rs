use bizing_sandbox::{Options, Sandbox};

use crate::{Ended, Failed, SandboxArguments, runtime, signals};

pub fn run(arguments: SandboxArguments) -> Ended {
    let options = Options {
        listen: arguments.listen,
        smtp: arguments.smtp,
        journal: arguments.journal,
        ..Options::default()
    };
    let key = options.secret_key.clone();
    runtime()?.block_on(async {
        let sandbox = Sandbox::start(options)
            .await
            .map_err(|error| {
                Failed::Run(format!(
                    "The sandbox did not start: {error:#}. Choose another address of this computer with --listen or --smtp, \
                     such as 127.0.0.1:12111, or end the program that has it."
                ))
            })?;
        println!("Sandbox: {} (secret key {key})", sandbox.url());
        if let Some(smtp) = sandbox.smtp_addr() {
            println!("Mail: smtp://{smtp}");
        }
        signals::asked_to_stop().await;
        sandbox.stop().await;
        Ok(())
    })
}
