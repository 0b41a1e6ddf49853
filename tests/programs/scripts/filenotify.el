(require 'filenotify)
(file-notify-add-watch
 (car command-line-args-left) '(change attribute-change)
 (lambda (event) (message "%s" (mapconcat (lambda (part) (format "%s" part)) (cdr event) " "))))
(message "ready")
(while t (read-event nil nil 0.1))
