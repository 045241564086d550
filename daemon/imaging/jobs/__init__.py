"""What all imaging jobs share: durable rows, one way of working through them, their files, their webhooks."""
