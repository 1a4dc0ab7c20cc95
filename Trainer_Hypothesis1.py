"""Train Hypothesis 1: a plain U-Net, mean squared error, no augmentation."""

import torch
from torch import nn

from common import cli, training
from common.models import UNet


@cli.reports_errors(resumable=True)
def main(argv=None):
    parser = cli.trainer_parser(
        __doc__,
        model_save_path="hypothesis_1_full_saved_model.pth",
        plot_save_path="hypothesis_1_training_curves.png",
        batch_size=8,
        epochs=50,
        lr=1e-3,
        precision="fp32",
    )
    args = parser.parse_args(argv)
    device, train_set, val_set = cli.start_training(args)

    model = UNet().to(device)
    cli.announce(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min", patience=5, factor=0.5
    )
    training.fit(
        model,
        nn.MSELoss(),
        optimizer,
        scheduler,
        train_set,
        val_set,
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        precision=args.precision,
        model_save_path=args.model_save_path,
        plot_save_path=args.plot_save_path,
        settings={"hypothesis": 1, **vars(args)},
        epochs_may_change=True,
        resume=args.resume,
        checkpoint_seconds=args.checkpoint_seconds,
    )


if __name__ == "__main__":
    main()
