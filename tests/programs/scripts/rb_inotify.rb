require 'rb-inotify'

$stdout.sync = true
notifier = INotify::Notifier.new
flags = [:create, :modify, :close_write, :attrib, :move, :delete, :recursive]
notifier.watch(ARGV[0], *flags) do |event|
  puts "#{event.flags.sort} #{event.absolute_name} #{event.cookie != 0}"
end
puts 'ready'
notifier.run
