"""What the routes of all imaging back ends share: clients, uploads, drafts, jobs and their events."""
