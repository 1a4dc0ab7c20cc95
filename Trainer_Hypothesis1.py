"""Train Hypothesis 1: a plain U-Net, mean squared error, no augmentation."""

import torch
from torch import nn

from common import cli, devices, training
from common.losses import HeatmapLoss
from common.models import UNet


@cli.reports_errors(resumable=True)
def main(argv=None):
    parser = cli.trainer_parser(
        __doc__,
        hypothesis=1,
        model_save_path="hypothesis_1_full_saved_model.pth",
        batch_size=8,
        epochs=50,
        lr=1e-3,
        precision="fp32",
    )
    args = parser.parse_args(argv)
    device = training.set_up(args)
    devices.make_repeatable(args.seed)  # before the network, whose first weights are drawn
    train_set, val_set = training.load_data(args, device)

    model = UNet()
    loss = HeatmapLoss(nn.MSELoss(), sigma=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min", patience=5, factor=0.5
    )
    training.fit(model, loss, optimizer, scheduler, train_set, val_set, args)


if __name__ == "__main__":
    main()
